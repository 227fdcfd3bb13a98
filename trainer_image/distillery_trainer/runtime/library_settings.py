"""Settings of the training libraries: no progress bars, notices, warnings or telemetry in the output of a stage, and
threads that wait without spinning. The only place that makes them."""

from __future__ import annotations

import logging
import os
import warnings

from distillery_trainer.runtime.repeated_lines import FirstOfItsKind

_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    # Parts of 64 MB that wait to be sent are held in memory: four of them, not up to 64.
    "HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY": "4",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "DATASETS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Otherwise idle threads spin, and beside one busy process a small model is 18 times slower. OpenMP reads it when
    # torch is imported.
    "OMP_WAIT_POLICY": "PASSIVE",
}
_LOGGERS = ("accelerate", "bitsandbytes", "datasets", "huggingface_hub", "peft", "torch", "transformers", "trl")


def prepare_environment() -> None:
    """Set the environment variables that the libraries read when they are imported. Variables that are set already keep
    their values."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in _LOGGERS:  # some already have something to say while they are imported
        logging.getLogger(name).setLevel(logging.ERROR)


def quiet_libraries() -> None:
    """Silence the libraries while they run. Called at the start of a stage; it lasts as long as the process."""
    import datasets
    import transformers

    warnings.simplefilter("ignore")
    handlers = [logging.lastResort, *(handler for name in _LOGGERS for handler in logging.getLogger(name).handlers)]
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    for handler in filter(None, handlers):
        handler.addFilter(FirstOfItsKind())
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
