"""The training libraries kept to themselves: no progress bars, notices, warnings or telemetry beside the stage's own
words. The only place where that is arranged."""

from __future__ import annotations

import logging
import os
import warnings

_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DATASETS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_LOGGERS = ("accelerate", "datasets", "huggingface_hub", "peft", "torch", "transformers", "trl")


def prepare_environment() -> None:
    """Set what the libraries read when they are imported. A variable that somebody has set stays as it is."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def quiet_libraries() -> None:
    """Silence what the libraries say while they work. Call it at the start of a stage; it holds for the process."""
    import datasets
    import transformers

    warnings.simplefilter("ignore")
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
