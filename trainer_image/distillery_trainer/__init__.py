"""The stages that run as Jobs: generate, train, evaluate."""
