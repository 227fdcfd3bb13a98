"""The student is checked before the teacher is paid, in a process of its own: the libraries of models stay out of this
one. What only the loaded weights can tell is left to the train stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from distillery_api.reasons import Reason
from distillery_api.run_config import STUDENT_CREDENTIALS_PREFIX, RunConfig
from distillery_api.stage import ExitCode
from distillery_trainer.data.locations import resolve
from distillery_trainer.runtime.errors import TryLater, UserError
from distillery_trainer.student.checked_student import CheckedStudent

_AS_JSON: dict[str, Any] = {"by_alias": True, "exclude_none": True}
_TIMEOUT_SECONDS = 600
_HUB = "hf://"


class NotChecked(Exception):
    """Something cannot be checked here. The message says why."""


def check_student(config: RunConfig) -> CheckedStudent | str:
    """Check the student. Returns what was found, or why it cannot be checked here. Raises UserError if it cannot be
    trained, TryLater if that takes too long to find out."""
    try:
        found = run_check(config, "distillery_trainer.student.check", config.model_dump_json(**_AS_JSON))
    except NotChecked as error:
        return str(error)
    return CheckedStudent.from_json(found.splitlines()[-1])


def run_check(config: RunConfig, module: str, content: str) -> str:
    """Run a program of ours that checks something about the student, with this on its standard input. Returns its
    output. Raises NotChecked, or what the program says: UserError, or TryLater if it takes too long."""
    if problem := _unavailable(config):
        raise NotChecked(problem)
    return _output(config, module, content)


def _unavailable(config: RunConfig) -> str | None:
    """Why there is nothing to check here; None if there may be."""
    uri = config.student.model.uri
    if uri.startswith(_HUB):
        missing = constants.HF_HUB_OFFLINE and not _may_be_cached(uri)
        return f"{uri} is not on this machine, and HF_HUB_OFFLINE is set." if missing else None
    try:
        resolve(uri, config, "student.model.uri")
    except UserError as error:  # an earlier release of the operator does not mount it in this stage
        return error.message
    return None


def _may_be_cached(uri: str) -> bool:
    """Also of what is no name on the Hub: the check says so."""
    name, _, revision = uri.removeprefix(_HUB).partition("@")
    try:
        return isinstance(try_to_load_from_cache(name, "config.json", revision=revision or None), str)
    except HFValidationError:
        return True


def _output(config: RunConfig, module: str, content: str) -> str:
    try:
        ended = subprocess.run(  # noqa: S603 - our own interpreter
            (sys.executable, "-m", module),
            input=content,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            env=_environment(config, os.environ),
        )
    except subprocess.TimeoutExpired as expired:
        raise _too_slow(config.student.model.uri) from expired
    if ended.returncode == ExitCode.DONE:
        return ended.stdout
    if ended.returncode not in (ExitCode.USER_ERROR, ExitCode.TRY_LATER):
        last_line = (ended.stderr.strip() or f"exit code {ended.returncode}").splitlines()[-1]
        raise NotChecked(f"the check failed ({last_line}).")
    error = json.loads(ended.stdout)
    if ended.returncode == ExitCode.USER_ERROR:
        raise UserError(error["message"], reason=Reason(error["reason"]))
    raise NotChecked(str(error["message"]))


def _too_slow(uri: str) -> Exception:
    problem = f"it could not be read within {_TIMEOUT_SECONDS} seconds"
    if uri.startswith(_HUB):  # the network may be slow
        return NotChecked(f"{problem}.")
    # The node may be busy: a later attempt may be in time.
    return TryLater(
        f"student.model.uri: {uri}: {problem}; use another model, a faster volume, or a machine that is less busy.",
        reason=Reason.INVALID_MODEL,
    )


def _environment(config: RunConfig, variables: Mapping[str, str]) -> dict[str, str]:
    """Without the keys of teacher and judge, and with the student's credentials under their own names."""
    keys = set(config.api_key_variables.values())
    credentials = {
        name.removeprefix(STUDENT_CREDENTIALS_PREFIX): value
        for name, value in variables.items()
        if name.startswith(STUDENT_CREDENTIALS_PREFIX)
    }
    return {name: value for name, value in variables.items() if name not in keys} | credentials
