"""A stand-in for a large language model as the quickstart's teacher, which needs no model, API key or network.

It implements the real protocol and reasons by rules: it parses the two sentences with the grammar that generated them,
enumerates all cases and derives the label. It also fails as real endpoints do: at fixed rates it is wrong, slow,
rate-limited, malformed or cut off, so that retries and rejected rows can be observed.

    python standin_teacher.py --port 0 --port-file FILE [--calm] [--wrong 0.1] [--key KEY]
"""

import argparse
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chat_faults import (
    Fault,
    FaultSchedule,
    cut_off,
    fenced,
    labelled,
    malformed_json,
    no_faults,
    rate_limited,
    server_error,
    slow,
)
from chat_protocol import Answer, Call, Message, Rules, last_user_text, text_of
from chat_server import ChatApplication, serve
from conjunction_grammar import (
    Clause,
    Label,
    Sentence,
    UnknownSentenceError,
    clause_text,
    parse,
    relation,
    settled_relation,
    worlds,
)

MODEL = "standin-teacher"

# The line break between the two may be escaped, in a prompt that quotes the row as JSON.
_PAIR = re.compile(r"Premise:\s*(?P<premise>[^.\n]+\.)(?:\s|\\n)*Hypothesis:\s*(?P<hypothesis>[^.\n]+\.)")


@dataclass(frozen=True)
class Rates:
    """Shares of requests that fail, each from 0 to 1.

    `rate_limited`, `server_error` and `slow` are transient: a retry may succeed. So is `malformed_once`, when the row
    is sent again. The others are a property of the row and permanent.
    """

    rate_limited: float = 0.03
    server_error: float = 0.01
    slow: float = 0.02
    malformed_once: float = 0.01
    malformed: float = 0.01
    outside_labels: float = 0.01
    cut_off: float = 0.01
    fenced: float = 0.10


def chance(*seeds: object) -> float:
    """A number in [0, 1) that is always the same for the same seeds."""
    digest = hashlib.sha256("\0".join(map(str, seeds)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def find_pair(messages: Sequence[Message]) -> tuple[str, str] | None:
    """The last premise and hypothesis in user messages; None without any.

    They may be in an earlier message: a follow-up ("your reply is not JSON") need not repeat them.
    """
    texts = [text_of(message) for message in messages if message.get("role") == "user"]
    found = [match for text in texts for match in _PAIR.finditer(text)]
    return (found[-1]["premise"], found[-1]["hypothesis"]) if found else None


# --- reasoning by rules


def answer_by_rule(messages: Sequence[Message]) -> Answer:
    """The true label of the pair, with the reasoning; neutral for what the grammar cannot parse."""
    pair = find_pair(messages)
    if pair is None:
        return Answer(Label.NEUTRAL.value, "I find no premise and hypothesis, so nothing follows.")
    try:
        premise, hypothesis = parse(pair[0]), parse(pair[1])
    except UnknownSentenceError as error:
        return Answer(Label.NEUTRAL.value, f"I cannot read the sentences, so nothing follows: {error}.")
    label = settled_relation(premise, hypothesis) or relation(premise, hypothesis, exclusive=False)
    return Answer(label.value, explain(premise, hypothesis, label))


def explain(premise: Sentence, hypothesis: Sentence, label: Label) -> str:
    """The chain of thought: the cases that the premise allows, the truth of the hypothesis in them, the conclusion."""
    cases = allowed_cases(premise)
    verdict = {
        Label.ENTAILMENT: "In every such case the hypothesis is true",
        Label.CONTRADICTION: "In no such case is the hypothesis true",
        Label.NEUTRAL: "The hypothesis can be true or false then",
    }[label]
    opened = "The premise leaves one case" if len(cases) == 1 else f"The premise leaves {len(cases)} cases"
    new = [clause for clause in hypothesis.clauses if clause.event not in {known.event for known in premise.clauses}]
    aside = f" It does not say whether {clause_text(Clause(new[0].name, new[0].verb))}." if new else ""
    return f"{opened}: {'; or '.join(cases)}.{aside} {verdict}, so the answer is {label.value}."


def allowed_cases(premise: Sentence) -> list[str]:
    """The cases, in words, in which the premise is true."""
    return [
        ", ".join(clause_text(Clause(*event, done=done)) for event, done in sorted(world.items()))
        for world in worlds(premise)
        if premise.holds(world, exclusive=False)
    ]


@dataclass(frozen=True)
class FallibleTeacher:
    """Reasons by rules, but gets a fixed share of pairs wrong: always the same pairs, in the same way."""

    wrong: float

    def __call__(self, messages: Sequence[Message]) -> Answer:
        """The answer to the pair in `messages`."""
        answer = answer_by_rule(messages)
        pair = find_pair(messages)
        if pair is None or chance("wrong", *pair) >= self.wrong:
            return answer
        others = [label.value for label in Label if label != answer.label]
        slip = others[int(chance("slip", *pair) * len(others))]
        return Answer(slip, f"At first sight the two sentences speak of the same people, so the answer is {slip}.")


# --- failing at fixed rates


def faults_at(rates: Rates) -> FaultSchedule:
    """The schedule that fails at these rates."""

    def schedule(call: Call) -> Fault | None:
        return _transient_fault(rates, call) or _permanent_fault(rates, call)

    return schedule


def _transient_fault(rates: Rates, call: Call) -> Fault | None:
    draw = chance("passing", call.text, call.attempt)
    malformed = rates.malformed_once if len(call.messages) <= 2 else 0.0
    return _drawn(
        draw,
        [
            (rates.rate_limited, rate_limited(1)),
            (rates.server_error, server_error()),
            (rates.slow, slow(2.0)),
            (malformed, malformed_json()),
        ],
    )


def _permanent_fault(rates: Rates, call: Call) -> Fault | None:
    draw = chance("lasting", *(find_pair(call.messages) or (last_user_text(call.messages),)))
    return _drawn(
        draw,
        [
            (rates.malformed, malformed_json()),
            (rates.outside_labels, labelled("undetermined")),
            (rates.cut_off, cut_off()),
            (rates.fenced, fenced()),
        ],
    )


def _drawn(draw: float, table: Sequence[tuple[float, Fault]]) -> Fault | None:
    for rate, fault in table:
        if draw < rate:
            return fault
        draw -= rate
    return None


def standin_application(
    *, wrong: float = 0.10, rates: Rates | None = None, api_key: str | None = None, latency: float = 0.05
) -> ChatApplication:
    """The stand-in as an application of the chat server. Without `rates`, it never fails. Latency in seconds."""
    rules = Rules(models=(MODEL,), api_key=api_key, context_tokens=4096)
    return ChatApplication(FallibleTeacher(wrong), faults_at(rates) if rates else no_faults, rules, latency)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Serve the quickstart's stand-in teacher.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to bind (default: any free one)")
    parser.add_argument("--port-file", type=Path, help="file to write the port to, once requests are accepted")
    parser.add_argument("--key", help="the only API key to accept (default: any)")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds until a reply (default 0.05)")
    parser.add_argument("--wrong", type=float, default=0.10, help="share of wrong answers (default 0.10)")
    parser.add_argument("--calm", action="store_true", help="never be slow, rate-limited, malformed or cut off")
    return parser.parse_args(arguments)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    chosen = parse_arguments()
    rates = None if chosen.calm else Rates()
    application = standin_application(wrong=chosen.wrong, rates=rates, api_key=chosen.key, latency=chosen.latency)
    serve(application, chosen.host, chosen.port, chosen.port_file)


if __name__ == "__main__":
    main()
