"""The stages that run as Jobs: generate, train, evaluate."""

from distillery_trainer.runtime.library_logging import prepare_environment

prepare_environment()
