"""What operator, command line and stages do alike with files, locks, signals and proxies. Standard library only.

What explains an error to a user, or knows a workspace, belongs to the package that calls it."""
