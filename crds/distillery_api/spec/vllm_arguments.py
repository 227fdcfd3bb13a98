"""Arguments that a user adds to vLLM's command: known to its parser, well formed, and none of those that are ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import takewhile

from pydantic_core import PydanticCustomError

from distillery_api.spec.vllm_options import VllmOption, vllm_options, vllm_release

_OURS = "is set by the operator"
_CODE = "can run code that is not in the image"
_NO_NETWORK = "fetches files, and the student is on the workspace volume"
_TLS = "would close the server to its probes; TLS ends in front of it"
_ONE_SERVER = "makes it another server than one that answers on one port"
RESERVED = {
    "--api-key": f"{_OURS}: name a Secret in serving.apiKey",
    "--served-model-name": f"{_OURS}: further names go into serving.modelNames",
    "--chat-template": f"{_OURS}: the student's own, with serving.bakePrompt its prompt in it",
    "--dtype": f"{_OURS}: the precision of the evaluation",
    **dict.fromkeys(("--model", "--tokenizer", "--host", "--port", "--uds", "--load-format", "--middleware"), _OURS),
    **dict.fromkeys(("--generation-config", "--override-generation-config", "--shutdown-timeout"), _OURS),
    **dict.fromkeys(("--disable-access-log-for-endpoints", "--disable-fastapi-docs", "--config", "--root-path"), _OURS),
    **dict.fromkeys(("--trust-remote-code", "--trust-request-chat-template", "--tool-parser-plugin"), _CODE),
    **dict.fromkeys(("--reasoning-parser-plugin", "--logits-processors", "--io-processor-plugin"), _CODE),
    **dict.fromkeys(("--worker-cls", "--worker-extension-cls", "--scheduler-cls", "--model-class-overrides"), _CODE),
    **dict.fromkeys(("--revision", "--code-revision", "--tokenizer-revision", "--hf-token"), _NO_NETWORK),
    **dict.fromkeys(("--hf-config-path", "--hf-overrides", "--download-dir", "--tool-server"), _NO_NETWORK),
    **dict.fromkeys(("--ssl-keyfile", "--ssl-certfile", "--ssl-ca-certs", "--ssl-cert-reqs", "--ssl-ciphers"), _TLS),
    **dict.fromkeys(("--enable-ssl-refresh",), _TLS),
    **dict.fromkeys(("--headless", "--grpc", "--grpc-port", "--tokens-only", "--enable-scale-out"), _ONE_SERVER),
    **dict.fromkeys(("--runner", "--convert", "--help", "-h"), _ONE_SERVER),
    "--allowed-local-media-path": "lets clients read files of the server",
    "--enable-sleep-mode": "lets clients put the server to sleep",
}
"""Why each of these is refused."""


def checked_arguments(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """`arguments`, if vLLM takes them after ours. Raises PydanticCustomError."""
    for problem in _problems(arguments):
        raise PydanticCustomError("rule", "{message}", {"message": problem})
    return arguments


def _problems(arguments: tuple[str, ...]) -> Iterator[str]:
    """What is wrong, in the order of the arguments."""
    rest, seen = list(arguments), set[str]()
    while rest:
        flag, equals, attached = rest.pop(0).partition("=")
        option, problem = _option(flag)
        if option is None:
            yield problem
            return
        values = [attached] if equals else _values(option, rest)
        rest = rest if equals else rest[len(values) :]
        yield from _of_values(flag, option, values, given=bool(equals))
        if flag in seen:
            yield f"{flag} stands there twice; remove one of them"
        seen.add(flag)


def _option(flag: str) -> tuple[VllmOption | None, str]:
    """The option that `flag` names, or why it is none. vLLM reads _ in a flag as -, and a part of a JSON value after a
    dot."""
    if not flag.startswith("-") or flag in ("-", "--"):
        return None, f"{flag!r} belongs to no option; begin with a flag such as --max-num-seqs"
    name, _, part = flag.replace("_", "-").partition(".")
    option = vllm_options().get(name)
    if option is None or (part and not option.has_parts):
        return None, _unknown(flag, name)
    reserved = next((RESERVED[each] for each in option.flags if each in RESERVED), None)
    return (None, f"{flag} {reserved}; remove it") if reserved else (option, "")


def _unknown(flag: str, name: str) -> str:
    first, *further = name.split(maxsplit=1)
    if further and first in vllm_options():
        return f"{flag!r} is an option with its value; write the two as items of their own"
    if flag.startswith("-O"):
        return f"{flag} is the short form of --optimization-level; write that, and its value"
    free = [each for each in vllm_options() if each not in RESERVED]
    near = [each for each in free if len(name) > 5 and each.startswith(name)] or get_close_matches(name, free, 1, 0.75)
    hint = f"; did you mean {near[0]}?" if near else "; remove it"
    return f"{flag} is no option of vLLM {vllm_release()}{hint}"


def _values(option: VllmOption, rest: Iterable[str]) -> list[str]:
    """The values that follow a flag. What begins with - is the next flag, unless it is a number."""
    following = list(takewhile(lambda each: not each.startswith("-") or each[1:2].isdigit(), rest))
    return following if option.values == "+" else following[: 0 if option.values == "0" else 1]


def _of_values(flag: str, option: VllmOption, values: list[str], *, given: bool) -> Iterator[str]:
    if option.values == "0" and given:
        yield f"{flag} takes no value; write it alone"
    elif option.values in ("1", "+") and not values:
        yield f"{flag} needs {option.expected()}"
    elif "." not in flag:
        wrong = [value for value in values if not option.takes(value)]
        yield from (f"{flag} takes {option.expected()}, not {value!r}" for value in wrong[:1])
