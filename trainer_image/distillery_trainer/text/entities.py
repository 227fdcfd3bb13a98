"""The named entities of an English text, if a model that finds them is installed.

The model is any spaCy package for English (the extra `entities`, then
`python -m spacy download en_core_web_sm`); of several, the largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

from distillery_trainer.text import languages
from distillery_trainer.text.words import words

_LANGUAGE = "en"
_BY_SIZE = ("trf", "lg", "md", "sm")
_NEEDED = ("tok2vec", "transformer", "curated_transformer", "ner")
_NUMERIC_KINDS = frozenset({"CARDINAL", "DATE", "MONEY", "ORDINAL", "PERCENT", "QUANTITY", "TIME"})
"""Kinds of entities that are numbers; `parsing.numbers` handles these."""


def available() -> bool:
    """Whether a model is installed."""
    return _package() is not None


def density(text: str) -> float | None:
    """Distinct named entities per token of the text (chain of density, arXiv 2309.04269, section 3.1).

    None without a model, for a text that is not English, and for a text without words.
    """
    document = _document(text)
    if document is None or len(document) == 0:
        return None
    return len({_key(entity.text) for entity in document.ents}) / len(document)


def named_entities(text: str) -> list[str] | None:
    """The entities that are not numbers, each once, as the text spells them; None where `density` is None."""
    document = _document(text)
    if document is None or len(document) == 0:
        return None
    found = {_key(entity.text): entity.text for entity in document.ents if entity.label_ not in _NUMERIC_KINDS}
    return [name for key, name in found.items() if key]


def is_mentioned(name: str, text_words: Sequence[str]) -> bool:
    """Whether a text, given as its words, mentions a name: the same words in order, ignoring articles and endings."""
    wanted = _key(name)
    last = len(text_words) - len(wanted) + 1
    return any(_same(wanted, text_words[start : start + len(wanted)]) for start in range(last))


def _same(wanted: Sequence[str], found: Sequence[str]) -> bool:
    return [word.rstrip("s") for word in wanted] == [word.rstrip("s") for word in found]


def _key(name: str) -> tuple[str, ...]:
    found = words(name.replace("\u2019s", "").removesuffix("'s"))
    return tuple(found[1:] if found[:1] in (["the"], ["a"], ["an"]) else found)


def _document(text: str) -> Any | None:
    if languages.detect(text) not in (None, _LANGUAGE):
        return None
    model = _model()
    return None if model is None else model(text)


@cache
def _package() -> str | None:
    if find_spec("spacy") is None:
        return None
    from spacy.util import get_installed_models

    installed = [name for name in get_installed_models() if name.startswith(f"{_LANGUAGE}_")]
    return min(installed, key=_size, default=None)


def _size(package: str) -> int:
    ending = package.rpartition("_")[2]
    return _BY_SIZE.index(ending) if ending in _BY_SIZE else len(_BY_SIZE)


@cache
def _model() -> Any | None:
    package = _package()
    if package is None:
        return None
    import spacy

    model = spacy.load(package)
    model.select_pipes(enable=[name for name in model.pipe_names if name in _NEEDED or name == "entity_ruler"])
    return model
