"""The errors of the operator, as a tree: each message says what to do about it."""

from __future__ import annotations


class OperatorError(Exception):
    """Anything that the operator reports instead of a traceback."""


class SettingsError(OperatorError):
    """An environment variable is missing or has an invalid value."""


class OutdatedSchema(OperatorError):
    """The cluster's CRD lacks fields that this operator writes: the server would silently drop them."""


class InvalidDistillation(OperatorError):
    """A Distillation breaks a rule that its CRD could not check, or that is newer than the object."""


class LeadershipLost(OperatorError):
    """Another replica may be leading by now, so this process must stop."""


class ClusterError(OperatorError):
    """The API server refused a request.

    `status` is the HTTP status and `reason` the server's reason, such as AlreadyExists; 0 and empty where no answer
    came.
    """

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotFound(ClusterError):
    """The object does not exist (404)."""


class Conflict(ClusterError):
    """The object has changed since it was read (409)."""


class AlreadyExists(Conflict):
    """An object of that name already exists (409 AlreadyExists)."""


class Expired(ClusterError):
    """The server no longer has the version that was asked for (410)."""


class Refused(ClusterError):
    """The server answers, and accepts other requests, but not this one: it is not to be repeated at once."""


class Invalid(Refused):
    """The object itself is invalid (400, 413, 422): a retry does not help."""


class Forbidden(Refused):
    """The operator's role, a quota (403), or an admission policy or webhook (any status) does not allow it."""


class AdmissionFailed(Refused):
    """An admission webhook that has to be asked does not answer (500)."""


class Unreachable(ClusterError):
    """The API server did not answer in time."""
