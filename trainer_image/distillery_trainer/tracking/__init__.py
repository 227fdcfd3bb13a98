"""Reports to experiment trackers, beside a stage: none of them can stop or fail it."""
