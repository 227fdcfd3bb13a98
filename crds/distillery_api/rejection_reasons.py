"""Why a row is rejected: one word for programs, beside a sentence for people, in rejected.jsonl, status and metrics."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Self

_HTTP_STATUS = re.compile(r"http_\d{1,3}")


class RejectionReason(StrEnum):
    """Every reason, in the order in which a row meets them. `http_404` and the like, one for each status, are members
    as well: see `of_status`."""

    # Before the row is asked
    NOT_SELECTED = "not_selected"
    """The record does not meet a condition of the source (where)."""
    LOG_CALL_FAILED = "log_call_failed"
    """The record of a log is about a call that failed."""
    LOG_NOT_TEXT = "log_not_text"
    """The record of a log holds tools, images or an order of roles that cannot be learned from."""
    DUPLICATE = "duplicate"
    """An earlier row of the split asks the same."""
    LEAKS_INTO_TEST = "leaks_into_test"
    """A row that is held back (validation or test) asks the same."""
    SPECIAL_TOKEN = "special_token"  # noqa: S105 - a reason
    """The row or the answer holds a control token of chat models."""

    # The request
    UNREACHABLE = "unreachable"
    """No connection to the server."""
    BAD_URL = "bad_url"
    """The endpoint is not an address."""
    TIMEOUT = "timeout"
    """No complete reply within requestTimeoutSeconds."""
    CONNECTION_CLOSED = "connection_closed"
    """The connection was closed before the reply was complete."""
    BAD_RESPONSE = "bad_response"
    """The server answered with something that is not a completion."""
    CONTEXT_TOO_LONG = "context_too_long"
    """The prompt does not fit into the model's context window."""
    OUTPUT_LIMIT = "output_limit"
    """The server does not write replies as long as sampling.maxTokens asks for."""
    CONTENT_FILTER = "content_filter"
    """The server's content filter blocked the prompt or withheld the reply."""

    # The reply
    EMPTY = "empty"
    """The reply or the answer has no text."""
    TRUNCATED = "truncated"
    """The reply was cut off before its end."""
    REFUSED = "refused"
    """The model refused to answer."""
    BAD_JSON = "bad_json"
    """The reply was to be JSON of a certain form, and is not."""
    SCHEMA_MISMATCH = "schema_mismatch"
    """The reply is a JSON object that does not fit generation.schema."""
    LABEL_NOT_ALLOWED = "label_not_allowed"
    """The reply names none of the allowed labels."""
    SEVERAL_LABELS = "several_labels"
    """The reply names several labels and states none as the answer."""
    NEGATED_LABEL = "negated_label"
    """The reply only says which label is not the answer."""
    NO_NUMBER = "no_number"
    """The reply has no number."""
    SEVERAL_NUMBERS = "several_numbers"
    """The reply has several numbers and states none as the answer."""
    UNKNOWN_FUNCTION = "unknown_function"
    """The reply calls a function that is not one of the row's tools."""
    BAD_ARGUMENTS = "bad_arguments"
    """The arguments of a call do not fit the schema of its tool."""

    # The answer
    TOO_LONG = "too_long"
    """The reply has more characters, the answer more words, or the training row more tokens than allowed."""
    TOO_SHORT = "too_short"
    """The answer has fewer words than filters.minAnswerWords."""
    BREAKS_RULE = "breaks_rule"
    """The answer breaks one of filters.answerRules."""
    UNFAITHFUL = "unfaithful"
    """The summary names numbers or entities that its source does not."""
    WRONG_LANGUAGE = "wrong_language"
    """The answer is in another language than asked for."""
    DISAGREES_WITH_GOLD = "disagrees_with_gold"
    """The answer is not the row's gold."""
    LOW_AGREEMENT = "low_agreement"
    """Too few samples agree on one answer."""
    JUDGE_FAILED = "judge_failed"
    """The request to the judge failed."""
    JUDGE_UNREADABLE = "judge_unreadable"
    """The judge's reply cannot be read."""
    JUDGE_REJECTED = "judge_rejected"
    """The judge rejects the answer."""

    # The training
    PROMPT_NOT_A_PREFIX = "prompt_not_a_prefix"
    """The student's chat template writes the prompt differently before an answer."""
    NO_END_OF_TURN = "no_end_of_turn"
    """The student's chat template does not end the answer with an end-of-turn token."""

    # At any time
    INTERNAL_ERROR = "internal_error"
    """This software failed while it handled the row; the traceback is in the log."""

    @classmethod
    def of_status(cls, status: int) -> RejectionReason:
        """The reason of an HTTP status that has none of its own, such as `http_429`."""
        return cls(f"http_{status}")

    @property
    def may_pass(self) -> bool:
        """Whether the same row may be kept with another reply: models and judges do not always write the same, and
        servers and models are replaced under the same name. False where the row itself, the student or a limit of the
        server is the reason. Failed requests have no reply that could be replaced: every run sends them again."""
        return self not in _LASTING

    @property
    def status(self) -> int | None:
        """The HTTP status of a reason made by `of_status`; None for any other."""
        return int(self.removeprefix("http_")) if _HTTP_STATUS.fullmatch(self) else None

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """A member for each HTTP status, made when it is first needed."""
        if not isinstance(value, str) or not _HTTP_STATUS.fullmatch(value):
            return None
        member = str.__new__(cls, value)
        member._name_, member._value_ = value.upper(), value
        return cls._value2member_map_.setdefault(value, member)  # type: ignore[return-value]


_LASTING = frozenset(
    {
        RejectionReason.LOG_CALL_FAILED,
        RejectionReason.LOG_NOT_TEXT,
        RejectionReason.DUPLICATE,
        RejectionReason.LEAKS_INTO_TEST,
        RejectionReason.SPECIAL_TOKEN,
        RejectionReason.BAD_URL,
        RejectionReason.CONTEXT_TOO_LONG,
        RejectionReason.OUTPUT_LIMIT,
        RejectionReason.PROMPT_NOT_A_PREFIX,
        RejectionReason.NO_END_OF_TURN,
        RejectionReason.INTERNAL_ERROR,
    }
)
