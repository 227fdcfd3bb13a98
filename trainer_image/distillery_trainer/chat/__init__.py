"""The large models that answer: calls, replies kept for ever, and what they may cost."""
