import copy
import json
import pickle

import pytest
from pydantic import BaseModel, ValidationError

from distillery_api.rejection_reasons import RejectionReason


class Rejected(BaseModel):
    reason: RejectionReason


@pytest.mark.parametrize("reason", [*RejectionReason, RejectionReason.of_status(429)])
def test_reason_is_read_back_from_its_text(reason: RejectionReason):
    assert RejectionReason(str(reason)) is reason


def test_reason_of_a_status_is_one_word_and_knows_its_status():
    assert (str(RejectionReason.of_status(404)), RejectionReason.of_status(404).status) == ("http_404", 404)


def test_reason_of_a_status_is_the_same_object_each_time():
    assert RejectionReason.of_status(503) is RejectionReason("http_503")


@pytest.mark.parametrize("status", [99, 199, 600, 999])
def test_status_outside_the_standard_has_a_reason_as_well(status: int):
    assert RejectionReason.of_status(status).status == status


def test_other_reasons_have_no_status():
    assert [reason.status for reason in RejectionReason] == [None] * len(RejectionReason)


def test_statuses_are_not_listed_among_the_reasons():
    RejectionReason.of_status(418)
    assert "http_418" not in [str(reason) for reason in RejectionReason]


@pytest.mark.parametrize("unknown", ["", "too_small", "HTTP_404", "http_", "http_x", "http_4040", "http_-1", 404, None])
def test_unknown_reason_is_an_error(unknown: object):
    with pytest.raises(ValueError, match="is not a valid RejectionReason"):
        RejectionReason(unknown)


@pytest.mark.parametrize("reason", [RejectionReason.TOO_LONG, RejectionReason.of_status(500)])
def test_reason_survives_a_copy_and_a_pickle(reason: RejectionReason):
    assert (copy.deepcopy(reason), pickle.loads(pickle.dumps(reason))) == (reason, reason)


@pytest.mark.parametrize("reason", [RejectionReason.TOO_LONG, RejectionReason.of_status(500)])
def test_json_holds_the_plain_text(reason: RejectionReason):
    text = json.dumps({"reason": str(reason)}, separators=(",", ":"))
    assert json.dumps({"reason": reason}, separators=(",", ":")) == text
    assert Rejected(reason=reason).model_dump_json() == text
    assert Rejected.model_validate_json(text).reason is reason


def test_pydantic_refuses_an_unknown_reason():
    with pytest.raises(ValidationError):
        Rejected.model_validate({"reason": "http_unknown"})
