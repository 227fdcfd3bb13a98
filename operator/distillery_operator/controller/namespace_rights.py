"""Says where the operator lacks the rights to watch a namespace: once in the log, and as a metric.

One such namespace must not end the work in the others: it is tried again until rights come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from distillery_operator.errors import Forbidden

logger = logging.getLogger(__name__)


class NamespaceRights:
    """The namespaces that may not be watched; None stands for all. `on_change` is called with a namespace, empty for
    all, and whether it may not be watched."""

    def __init__(self, on_change: Callable[[str, bool], None]) -> None:
        self._on_change = on_change
        self._missing: set[str | None] = set()

    def refused(self, namespace: str | None, error: Forbidden) -> None:
        """Something in the namespace could not be listed."""
        if namespace in self._missing:
            return
        self._missing.add(namespace)
        self._on_change(namespace or "", True)
        logger.error(
            "nothing happens in %s until the operator may list and watch there: %s. Check that it exists and is one of"
            " the chart's watchNamespaces, and apply the chart again",
            namespace or "any namespace",
            error,
        )

    def granted(self, namespace: str | None) -> None:
        """All could be listed."""
        if namespace in self._missing:
            self._missing.discard(namespace)
            logger.info("the operator may list and watch in %s now", namespace or "all namespaces")
        self._on_change(namespace or "", False)
