"""What can go wrong in the operator, as a tree: each error is a sentence that a person can act on."""

from __future__ import annotations


class OperatorError(Exception):
    """Anything that the operator reports instead of a traceback."""


class SettingsError(OperatorError):
    """An environment variable holds something that it must not hold."""


class OutdatedSchema(OperatorError):
    """The cluster's CRD does not know fields that this operator writes: the server would drop them in silence."""


class InvalidDistillation(OperatorError):
    """A stored Distillation breaks a rule that its CRD could not check, or that is newer than the object."""


class LeadershipLost(OperatorError):
    """Another replica may be working by now, so this process must not go on."""


class ClusterError(OperatorError):
    """The API server refused a request.

    `status` is the HTTP status and `reason` the server's own word for it, such as AlreadyExists; both are 0 and empty
    where no answer came.
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotFound(ClusterError):
    """There is no such object (404)."""


class Conflict(ClusterError):
    """Somebody else changed the object in the meantime (409)."""


class AlreadyExists(Conflict):
    """The name is taken (409 AlreadyExists)."""


class Invalid(ClusterError):
    """The object itself is wrong (400, 422): asking again does not help."""


class Forbidden(ClusterError):
    """The operator's role, or an admission check such as a quota, does not allow it (403)."""


class Unreachable(ClusterError):
    """The API server gave no answer in time."""
