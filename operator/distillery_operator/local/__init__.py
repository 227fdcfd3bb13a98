"""The same plan as local processes: no cluster, no container, the same stages with the same configuration.

What the stages are and what each is given belongs in planning/, what is printed in cli/."""
