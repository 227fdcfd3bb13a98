"""A training by several processes, one for each GPU: they are started and restarted here, agree on what each does, and
end with one result."""
