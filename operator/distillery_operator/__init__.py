"""The operator and the command line: from a Distillation to its stages, in a cluster or on one machine.

What a stage does belongs in distillery_trainer, which runs in a process of its own and is never imported here."""
