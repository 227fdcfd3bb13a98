"""What a test tells the node to do wrong, and to which pods."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from process_node.kube_api import Object


@dataclass(frozen=True)
class Exit:
    """How a container ends by order: code, reason (OOMKilled, Error) and after how long."""

    code: int
    reason: str
    message: str = ""
    after_s: float = 0.0


class Fault:
    """One order that holds until it is lifted; usable in a `with` statement."""

    def __init__(self, pattern: str, lift: Callable[[Fault], None], *, times: int | None = None) -> None:
        self.pattern = pattern
        self.times = times
        self._lift = lift

    def lift(self) -> None:
        """Stop it."""
        self._lift(self)

    def __enter__(self) -> Fault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lift()


class PullFault(Fault):
    """The image cannot be pulled."""

    message = ""


class BlockedStart(Fault):
    """The pod's containers are not created."""


class StartFault(Fault):
    """The next containers that start end as told."""

    exit = Exit(137, "OOMKilled")


class Faults:
    """All orders in force; safe to share between threads."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._faults: list[Fault] = []
        self._mutex = threading.Lock()
        self._changed = changed

    def fail_pull(self, pattern: str, message: str) -> Fault:
        """Let the images of matching pods fail to be pulled."""
        fault = PullFault(pattern, self._remove)
        fault.message = message
        return self._add(fault)

    def block_start(self, pattern: str) -> Fault:
        """Let matching pods wait in ContainerCreating."""
        return self._add(BlockedStart(pattern, self._remove))

    def fail_start(self, pattern: str, end: Exit, times: int) -> Fault:
        """Let the next `times` main containers of matching pods end as told."""
        fault = StartFault(pattern, self._remove, times=times)
        fault.exit = end
        return self._add(fault)

    def clear(self) -> None:
        """Lift them all."""
        with self._mutex:
            self._faults.clear()
        self._changed()

    def pull_error(self, pod: Object) -> str | None:
        """Why the pod's image cannot be pulled, if so ordered."""
        fault = self._find(pod, PullFault)
        return fault.message if isinstance(fault, PullFault) else None

    def is_held(self, pod: Object) -> bool:
        """Whether the pod must wait."""
        return self._find(pod, BlockedStart) is not None

    def ordered_exit(self, pod: Object) -> Exit | None:
        """How the container that starts now shall end; counts as one of the fault's times."""
        with self._mutex:
            for fault in self._faults:
                if isinstance(fault, StartFault) and matches(fault.pattern, pod) and fault.times:
                    fault.times -= 1
                    return fault.exit
        return None

    def _find(self, pod: Object, kind: type[Fault]) -> Fault | None:
        with self._mutex:
            return next((each for each in self._faults if isinstance(each, kind) and matches(each.pattern, pod)), None)

    def _add(self, fault: Fault) -> Fault:
        with self._mutex:
            self._faults.append(fault)
        self._changed()
        return fault

    def _remove(self, fault: Fault) -> None:
        with self._mutex:
            if fault in self._faults:
                self._faults.remove(fault)
        self._changed()


def matches(pattern: str, pod: Object) -> bool:
    """Whether a pattern means a pod: by name, or by namespace/name if it holds a slash."""
    name = pod["metadata"]["name"]
    return fnmatch.fnmatchcase(f"{pod['metadata']['namespace']}/{name}" if "/" in pattern else name, pattern)
