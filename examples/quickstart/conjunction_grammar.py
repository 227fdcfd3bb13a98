"""The grammar and semantics of the quickstart's sentences.

The data generator writes sentences with this module, and the stand-in teacher parses them with it. Labels come from
truth tables, never from the form of a sentence, so neither teaches the student a rule that is not logic.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

_VERB_FORMS = """
sing/sang cook/cooked swim/swam paint/painted dance/danced write/wrote skate/skated pray/prayed knit/knitted
ski/skied draw/drew jog/jogged sail/sailed shop/shopped whistle/whistled juggle/juggled bake/baked fish/fished
hike/hiked vote/voted drive/drove sew/sewed row/rowed camp/camped climb/climbed wave/waved stretch/stretched
laugh/laughed ride/rode clap/clapped iron/ironed kneel/knelt yawn/yawned fly/flew run/ran shout/shouted
sneeze/sneezed smile/smiled box/boxed surf/surfed type/typed drum/drummed wrestle/wrestled cycle/cycled
nod/nodded speak/spoke march/marched hum/hummed
"""

VERBS: dict[str, str] = dict(forms.split("/") for forms in _VERB_FORMS.split())
"""Base form -> past form of every verb. All forms differ, so that each can be parsed."""

_BASE_OF = {past: base for base, past in VERBS.items()}

Event = tuple[str, str]
"""(name, base form of a verb): an event that is true or false in a world."""

World = Mapping[Event, bool]


class Label(StrEnum):
    """How a hypothesis relates to its premise."""

    ENTAILMENT = "entailment"
    NEUTRAL = "neutral"
    CONTRADICTION = "contradiction"


class Link(StrEnum):
    """How a sentence joins its clauses."""

    NONE = "none"
    AND = "and"
    EITHER = "either"


class UnknownSentenceError(ValueError):
    """A sentence that is not in this grammar. The message quotes it."""


@dataclass(frozen=True)
class Clause:
    """A statement that a person did, or did not do, something."""

    name: str
    verb: str
    done: bool = True

    @property
    def event(self) -> Event:
        """The event that the clause affirms or denies."""
        return self.name, self.verb

    def holds(self, world: World) -> bool:
        """Whether the clause is true in `world`."""
        return world[self.event] is self.done


@dataclass(frozen=True)
class Sentence:
    """One clause, or two joined by `link`."""

    link: Link
    clauses: tuple[Clause, ...]

    def holds(self, world: World, *, exclusive: bool) -> bool:
        """Whether the sentence is true in `world`; `exclusive` reads "either … or" as "but not both"."""
        true_clauses = sum(clause.holds(world) for clause in self.clauses)
        if self.link is not Link.EITHER:
            return true_clauses == len(self.clauses)
        return true_clauses == 1 if exclusive else true_clauses >= 1


def single(clause: Clause) -> Sentence:
    """The sentence of one clause."""
    return Sentence(Link.NONE, (clause,))


def both(first: Clause, second: Clause) -> Sentence:
    """The conjunction of two clauses."""
    return Sentence(Link.AND, (first, second))


def either(first: Clause, second: Clause) -> Sentence:
    """The disjunction of two clauses."""
    return Sentence(Link.EITHER, (first, second))


# --- truth


def worlds(*sentences: Sentence) -> Iterator[World]:
    """Every way in which the events of `sentences` can be true or false."""
    events = sorted({clause.event for sentence in sentences for clause in sentence.clauses})
    for values in product((True, False), repeat=len(events)):
        yield dict(zip(events, values, strict=True))


def relation(premise: Sentence, hypothesis: Sentence, *, exclusive: bool) -> Label:
    """The label by truth table: what the hypothesis is in all worlds where the premise is true.

    Raises ValueError for a premise that is true in no world.
    """
    verdicts = {
        hypothesis.holds(world, exclusive=exclusive)
        for world in worlds(premise, hypothesis)
        if premise.holds(world, exclusive=exclusive)
    }
    if not verdicts:
        raise ValueError(f"The premise contradicts itself: {sentence_text(premise)}")
    if len(verdicts) == 2:
        return Label.NEUTRAL
    return Label.ENTAILMENT if verdicts.pop() else Label.CONTRADICTION


def settled_relation(premise: Sentence, hypothesis: Sentence) -> Label | None:
    """The label, or None where it depends on whether "either … or" excludes "both"."""
    label = relation(premise, hypothesis, exclusive=False)
    return label if label is relation(premise, hypothesis, exclusive=True) else None


# --- writing and parsing


def clause_text(clause: Clause) -> str:
    """`Mara sang` or `Mara did not sing`."""
    return f"{clause.name} {VERBS[clause.verb]}" if clause.done else f"{clause.name} did not {clause.verb}"


def sentence_text(sentence: Sentence) -> str:
    """The sentence as text, with its full stop."""
    words = [clause_text(clause) for clause in sentence.clauses]
    if sentence.link is Link.NONE:
        return f"{words[0]}."
    if sentence.link is Link.EITHER:
        return f"Either {words[0]} or {words[1]}."
    contrast = sentence.clauses[0].done is not sentence.clauses[1].done
    return f"{words[0]}, but {words[1]}." if contrast else f"{words[0]} and {words[1]}."


_CLAUSE = re.compile(r"(?P<name>[A-Z][a-z]+) (?:did not (?P<base>[a-z]+)|(?P<past>[a-z]+))")
_EITHER = re.compile(r"Either (.+) or (.+)")
_BOTH = re.compile(r"(.+?)(?:, but| and) (.+)")


def parse_clause(words: str) -> Clause:
    """The inverse of `clause_text`. Raises UnknownSentenceError."""
    match = _CLAUSE.fullmatch(words)
    if match and match["base"] in VERBS:
        return Clause(match["name"], match["base"], done=False)
    if match and match["past"] in _BASE_OF:
        return Clause(match["name"], _BASE_OF[match["past"]])
    raise UnknownSentenceError(f"{words!r} is neither 'NAME sang' nor 'NAME did not sing' with a verb of this grammar")


def parse(words: str) -> Sentence:
    """The inverse of `sentence_text`. Raises UnknownSentenceError."""
    words = words.strip().removesuffix(".")
    for pattern, join in ((_EITHER, either), (_BOTH, both)):
        if match := pattern.fullmatch(words):
            return join(parse_clause(match[1]), parse_clause(match[2]))
    return single(parse_clause(words))
