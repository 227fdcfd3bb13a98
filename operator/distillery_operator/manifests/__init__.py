"""Manifests as pure functions of a plan: no cluster is asked, and the golden files are their test."""
