"""From a spec to what is to be done: stages, their identity, what each is given, and the names of all objects.

Pure functions of the spec. What is there already is the business of core."""
