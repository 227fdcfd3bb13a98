"""From a spec to a plan: the stages, their identity, the configuration of each, and the names of all objects.

Pure functions of the spec. What already exists in the cluster belongs to core."""
