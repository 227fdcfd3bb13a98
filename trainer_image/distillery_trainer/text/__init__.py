"""Figures of texts: pure functions that tasks, filters and scoring share."""
