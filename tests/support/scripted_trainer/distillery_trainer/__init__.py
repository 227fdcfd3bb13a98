"""Stands in for the stages where only their outside matters: exit codes, result files, metrics, signals.

On PYTHONPATH it takes the place of the real package in a stage's process.
"""
