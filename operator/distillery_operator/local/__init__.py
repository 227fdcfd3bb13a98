"""The same plan as local processes: no cluster, no container, the same stages with the same configuration."""
