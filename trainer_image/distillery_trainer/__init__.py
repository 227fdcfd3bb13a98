"""The stages that run as Jobs: generate, train, evaluate."""

from distillery_trainer.quiet import prepare_environment

prepare_environment()
