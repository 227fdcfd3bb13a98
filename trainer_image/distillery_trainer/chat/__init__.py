"""How a remote model is asked over an OpenAI-compatible API: requests, retries, rate limits, budget and the journal of
paid replies. What is asked, and what an answer is worth, belongs to `tasks/`, `filters/` and `evaluation/`."""
