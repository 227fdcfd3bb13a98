"""A manifest file on this machine: read as kubectl reads it, and what is wrong in it, with line and remedy.

Nothing here knows a cluster or a plan."""
