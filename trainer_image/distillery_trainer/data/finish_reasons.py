"""How servers say that a reply is complete."""

COMPLETE_FINISH_REASONS = ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "completed", None)
"""The finish reasons of complete replies, as the various servers name them; some give none. A tuple and not a set,
because a log may hold any value here, including one that cannot be hashed."""
