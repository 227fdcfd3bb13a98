"""Parsers of replies: labels, options, numbers, JSON and reasoning, from text alone.

A parser that would have to guess returns Unreadable. How good an answer is, a task decides."""
