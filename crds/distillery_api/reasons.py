"""Why a resource, or a stage of it, is in the state that it is in: one word for programs."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Every reason that a condition or a stage's result can give."""

    # Reconciling
    QUEUED = "Queued"
    GENERATING_DATA = "GeneratingData"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    ROLLING_OUT = "RollingOut"
    PUBLISHING = "Publishing"
    VERIFYING = "Verifying"
    PROGRESSING_WITH_RETRY = "ProgressingWithRetry"
    UNSCHEDULABLE = "Unschedulable"
    WORKSPACE_IN_USE = "WorkspaceInUse"
    YIELDED_GPU = "YieldedGPU"
    # Stalled
    INVALID_SPEC = "InvalidSpec"
    INVALID_DATA = "InvalidData"
    DATA_UNREACHABLE = "DataUnreachable"
    INVALID_MODEL = "InvalidModel"
    TEACHER_UNREACHABLE = "TeacherUnreachable"
    TEACHER_REJECTED = "TeacherRejected"
    TOO_FEW_ROWS = "TooFewRows"
    BUDGET_EXCEEDED = "BudgetExceeded"
    GENERATION_FAILED = "GenerationFailed"
    TRAINING_FAILED = "TrainingFailed"
    EVALUATION_FAILED = "EvaluationFailed"
    PUBLISH_FAILED = "PublishFailed"
    VERIFICATION_FAILED = "VerificationFailed"
    QUALITY_GATE_FAILED = "QualityGateFailed"
    STORAGE_FULL = "StorageFull"
    OUT_OF_MEMORY = "OutOfMemory"
    NO_PROGRESS = "NoProgress"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    ROLLOUT_FAILED = "RolloutFailed"
    CANARY_FAILED = "CanaryFailed"
    NAME_CONFLICT = "NameConflict"
    # Failures of a Pod
    IMAGE_PULL_ERROR = "ImagePullError"
    CONFIGURATION_MISSING = "ConfigurationMissing"
    VOLUME_UNAVAILABLE = "VolumeUnavailable"
    WORKSPACE_LOST = "WorkspaceLost"
    WORKSPACE_CHANGED = "WorkspaceChanged"
    CONTAINER_OOM_KILLED = "ContainerOOMKilled"
    POD_EVICTED = "PodEvicted"
    NODE_LOST = "NodeLost"
    POD_REFUSED = "PodRefused"
    # No failure
    SUCCEEDED = "Succeeded"
    SERVING = "Serving"
    NOT_STARTED = "NotStarted"
    SUSPENDED = "Suspended"
    AWAITING_PROMOTION = "AwaitingPromotion"
    TERMINATED = "Terminated"
