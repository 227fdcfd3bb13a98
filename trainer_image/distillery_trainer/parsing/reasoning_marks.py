"""The marks around reasoning: tags as of DeepSeek R1 and Qwen, [THINK] of Magistral, Kimi's ◁think▷, tokens as of
Cohere's and Gemma's models, and the channels of gpt-oss (its "harmony" format), also where a server dropped the tokens.

Case, white space, attributes, full-width brackets and invisible characters in a tag do not matter.
"""

from __future__ import annotations

import re

QUOTE = re.compile("[`\"'\u201c\u201d\u2018\u2019]")
_INVISIBLE = "\u00ad\u200b-\u200f\u2060-\u2064\ufeff"
_GAP = rf"[\s{_INVISIBLE}]{{0,8}}"
_SLASH = "[/\uff0f]"
_NAMES = (
    "think", "thinking", "thought", "thoughts", "thought_process", "chain_of_thought", "inner_thoughts", "antthinking",
    "inner_monologue", "ant_thinking", "seed:think", "reasoning", "reflection", "analysis", "scratchpad",
)  # fmt: skip


def _spelled(word: str) -> str:
    """A pattern of a word with invisible characters in it."""
    return f"[{_INVISIBLE}]{{0,8}}".join(map(re.escape, word))


_NAME = "(?:" + "|".join(_spelled(name) for name in sorted(_NAMES, key=len, reverse=True)) + ")"
_TOKENS = {"channel": (r"<\|channel>thought", r"<channel\|>"), "unused": ("<unused94>thought", "<unused95>")}
"""The tokens around reasoning whose closing one has another name than the opening one, by what both contain."""
_NAME_IN_TAG = re.compile("|".join([*_TOKENS, _NAME]), re.IGNORECASE)
_INVISIBLE_CHARACTERS = re.compile(f"[{_INVISIBLE}]")
_ATTRIBUTES = rf"(?:[\s{_INVISIBLE}][^<>\uff1c\uff1e\u25c1\u25b7]{{0,200}})?"


def _tag(closing: str, token_prefix: str) -> str:
    return (
        rf"(?:[<\uff1c\u25c1]{_GAP}{closing}{_GAP}{_NAME}{_ATTRIBUTES}/?[>\uff1e\u25b7]"
        rf"|\[{_GAP}{closing}{_GAP}{_spelled('think')}{_GAP}\]"
        rf"|<\|(?:{closing}{token_prefix}){_NAME}\|>)"
    )


_OPENING_TAG = (
    "(?:" + "|".join([_tag("", "(?:start_|begin_of_)?"), *(opening for opening, _ in _TOKENS.values())]) + ")"
)
_CLOSING_TAG = (
    "(?:"
    + "|".join([_tag(_SLASH, ""), rf"<\|end_(?:of_)?{_NAME}\|>", *(closing for _, closing in _TOKENS.values())])
    + ")"
)
OPENING = re.compile(rf"[\s{_INVISIBLE}]*{_OPENING_TAG}", re.IGNORECASE)
"""An opening tag at the start of a reply, with nothing visible before it."""
CLOSING_AT_END = re.compile(rf"{_CLOSING_TAG}\Z", re.IGNORECASE)
TAG = re.compile(rf"(?P<closing>{_CLOSING_TAG})|{_OPENING_TAG}", re.IGNORECASE)


def name_of(tag: str) -> str:
    """The name in a tag, such as think, without what does not matter."""
    return _INVISIBLE_CHARACTERS.sub("", found[0]).casefold() if (found := _NAME_IN_TAG.search(tag)) else ""


def is_closing(tag: re.Match[str]) -> bool:
    """Whether a match of TAG is a closing one."""
    return tag["closing"] is not None


_CHANNEL = r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>"
_BARE_FINAL = r"assistant[\r\n]*final"
CHANNELS = re.compile(
    rf"[\s{_INVISIBLE}]*(?:{_CHANNEL}|(?:analysis|commentary|final)\s*<\|message\|>"
    # Without tokens, a channel's name and its text run together.
    rf"|analysis(?=(?:We|The|User|Let|I|It|This|That|Need|OK|Okay|So|They|Given|First|Just)\b)"
    rf"|analysis(?=.*{_BARE_FINAL})|{_BARE_FINAL})",
    re.DOTALL,
)
"""The start of a reply in channels."""
FINAL_CHANNEL = re.compile(
    rf"(?:{_CHANNEL}\s*|\A[\s{_INVISIBLE}]*)final\b(?:[^<\n]|<\|constrain\|>){{0,60}}<\|message\|>|{_BARE_FINAL}"
)
CHANNEL_MARK = re.compile(
    rf"(?:<\|(?:end|return|call)\|>\s*)?{_CHANNEL}(?:[^<\n]|<\|constrain\|>){{0,80}}<\|message\|>|<\|(?:end|return|call)\|>"
    rf"|\A[\s{_INVISIBLE}]*(?:analysis|commentary|final)(?:\s*<\|message\|>)?|assistant[\r\n]*(?:final|analysis|commentary)"
)
START_OF_ANSWER = re.compile(r"\s*<\|(?:begin_of_solution|start_response)\|>\s*", re.IGNORECASE)
END_OF_ANSWER = re.compile(
    r"\s{0,20}(?:<\|(?:return|end|end_of_solution|end_response)\|>|<turn\|>)\s*\Z", re.IGNORECASE
)
"""What surrounds the answer after reasoning where the server left it there."""
