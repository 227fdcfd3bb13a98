"""The operator as a process: Kopf's events, the work queue, and the reconciliation that joins cluster and core.

What is to be done is decided in core; how it is asked for is in cluster."""
