"""Manifests as pure functions of a plan, tested against golden files. They never query a cluster."""
