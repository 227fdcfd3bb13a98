"""Measures of texts: pure functions that tasks, filters and the evaluation share.

Reading an answer from a reply belongs in parsing/; what a figure means for a task, in tasks/ and evaluation/."""
