"""The stages that run as Jobs (generate, train, evaluate) and the estimate before them, as one process each.

When a stage runs, and what follows when it fails, is decided in distillery_operator."""

from distillery_trainer.runtime.library_settings import prepare_environment

prepare_environment()
