"""The operator and the command line: from a Distillation to its stages, in a cluster or on one machine."""
