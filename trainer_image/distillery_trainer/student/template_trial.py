"""A first rendering of a folder's chat template in a process of its own, with little time and memory: a template is a
program, and may come from anybody."""

from __future__ import annotations

import os
import resource
import signal
from itertools import product
from pathlib import Path
from typing import NoReturn

from transformers import PreTrainedTokenizerBase

from distillery_trainer.student.invalid_model import InvalidModel

MAX_SECONDS = 10
"""Of computation. Templates take milliseconds."""
MAX_BYTES = 256 * 1024**2
_OUT_OF_MEMORY = 3
_STATISTICS = Path("/proc/self/statm")
_SYSTEM, _USER, _ANSWER = ({"role": role, "content": "A"} for role in ("system", "user", "assistant"))
_PROBES = ([_USER], [_USER, _ANSWER], [_SYSTEM, _USER], [_SYSTEM, _USER, _ANSWER], [_SYSTEM, _USER, _ANSWER, _USER])
"""What rows are rendered as, each with and without the beginning of an answer."""


def try_template(tokenizer: PreTrainedTokenizerBase, uri: str) -> None:
    """Check that the chat template ends, within bounds; what it raises is judged where it is used. Raises
    InvalidModel."""
    child = os.fork()
    if child == 0:
        _render_within_bounds(tokenizer)
    exit_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if exit_code == -signal.SIGXCPU:
        raise InvalidModel(uri, f"the chat template takes longer than {MAX_SECONDS} seconds; use another model.")
    if exit_code:
        raise InvalidModel(
            uri, f"the chat template takes more than {MAX_BYTES // 1024**2} MiB of memory; use another model."
        )


def _render_within_bounds(tokenizer: PreTrainedTokenizerBase) -> NoReturn:
    exit_code = 0
    try:
        _set_bounds()
        for probe, starts_answer in product(_PROBES, (False, True)):
            _render(tokenizer, probe, starts_answer)
    except MemoryError:
        exit_code = _OUT_OF_MEMORY
    finally:
        os._exit(exit_code)


def _render(tokenizer: PreTrainedTokenizerBase, probe: list[dict[str, str]], starts_answer: bool) -> None:
    try:
        tokenizer.apply_chat_template(probe, add_generation_prompt=starts_answer, tokenize=False)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001, S110 - it is judged where the template is used
        pass


def _set_bounds() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # At the second limit, the signal would be one that also means that memory is short.
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS + 1))
    if _STATISTICS.exists():
        present = int(_STATISTICS.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (present + MAX_BYTES, present + MAX_BYTES))
