"""Measures of texts: pure functions that tasks, filters and the evaluation share."""
