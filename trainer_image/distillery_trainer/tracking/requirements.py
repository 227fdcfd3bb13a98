"""What the trackers of a manifest need: their libraries and variables. Looked at when a stage begins, and in the first
stage before the teacher is paid."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec

from distillery_api.reasons import Reason
from distillery_api.run_config import TRACKING_CREDENTIALS_PREFIX, RunConfig
from distillery_api.spec import Tracker
from distillery_trainer.runtime.errors import UserError

_LIBRARIES = {
    Tracker.MLFLOW: ("mlflow", "mlflow-skinny"),
    Tracker.TENSOR_BOARD: ("tensorboard", "tensorboard"),
    Tracker.WANDB: ("wandb", "wandb"),
    Tracker.TRACKIO: ("trackio", "trackio"),
}
"""The module of a tracker, and the package that has it."""
MLFLOW_URI = "MLFLOW_TRACKING_URI"
_DEFAULTS = {
    # Soon enough that a server that is down is noticed while the stage runs.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "WANDB_SILENT": "true",
    "WANDB_INIT_TIMEOUT": "30",
}


def check_tracking(config: RunConfig) -> None:
    """Raise UserError where a tracker cannot work for want of a library or a variable."""
    if config.tracking is None:
        return
    missing = [each for each in config.tracking.report_to if find_spec(_LIBRARIES[each][0]) is None]
    if missing:
        packages = " ".join(_LIBRARIES[each][1] for each in missing)
        message = (
            f"tracking.reportTo: {' and '.join(missing)} cannot be reported to, since the trainer's image or"
            f" environment lacks the library; add it (pip install {packages}), or remove the name."
        )
        raise UserError(message, reason=Reason.INVALID_SPEC)
    if Tracker.MLFLOW in config.tracking.report_to and not _variables().get(MLFLOW_URI):
        message = (
            f"tracking.reportTo: MLflow needs the variable {MLFLOW_URI}, such as http://mlflow.example:5000; put it"
            " into the Secret that tracking.credentials names, or into the environment."
        )
        raise UserError(message, reason=Reason.INVALID_SPEC)


def set_environment() -> None:
    """Give the trackers' libraries the variables that they read, under their own names. What is set already stays."""
    for name, value in _variables().items():
        os.environ[name] = value
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def _variables() -> dict[str, str]:
    """The environment with the credentials of the trackers under their own names."""
    prefix = TRACKING_CREDENTIALS_PREFIX
    given = {name.removeprefix(prefix): value for name, value in os.environ.items() if name.startswith(prefix)}
    return {**os.environ, **given}


def without_credentials(text: str) -> str:
    """A message of a library without what must not be in a log: users and passwords in addresses, and secret values."""
    text = re.sub(r"//[^/\s@]*@", "//", text)
    for name, value in os.environ.items():
        is_secret = name.startswith(TRACKING_CREDENTIALS_PREFIX) or re.search("KEY|TOKEN|PASSWORD|SECRET", name)
        if is_secret and len(value) >= 6 and "://" not in value:
            text = text.replace(value, "…")
    return text
