"""Parameters of a request: what is sent, which ones a server refuses or ignores, and the key of its reply."""

import json

import pytest

from distillery_api.spec import Generation
from distillery_trainer.chat.error_responses import (
    ErrorResponse,
)
from distillery_trainer.chat.reply_keys import ReplyKeys
from distillery_trainer.chat.request_parameters import (
    FormatWatch,
    is_too_high,
    rejected_parameter,
    sampling_parameters,
    without_parameter,
)


def error_response(status: int, message: str = "", code: str = "", **more: object) -> ErrorResponse:
    return ErrorResponse.read(status, json.dumps({"error": {"message": message, "code": code, **more}}).encode())


SENT = {"temperature": 0.2, "max_tokens": 5, "top_p": 0.1, "response_format": {}}


@pytest.mark.parametrize(
    ("answer", "parameter"),
    [
        (error_response(400, "x", param="temperature"), "temperature"),
        (error_response(400, "x", param="response_format.type"), "response_format"),
        (error_response(422, "Extra inputs: top_p"), "top_p"),
        (error_response(400, "'max_tokens' is not supported. Use 'max_completion_tokens' instead."), "max_tokens"),
        (error_response(400, "guided decoding of json_schema is not available"), "response_format"),
        (error_response(400, "x", param="messages"), None),
        (error_response(400, "x", param="presence_penalty"), None),
        (error_response(500, "temperature"), None),
    ],
)
def test_parameter_that_a_rejection_names(answer, parameter):
    assert rejected_parameter(answer, SENT) == parameter


@pytest.mark.parametrize(
    ("words", "too_high"),
    [
        ("max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", True),
        ("max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens", True),
        ("'max_tokens' must be less than or equal to 4096", True),
        ("'max_tokens' is not supported. Use 'max_completion_tokens' instead.", False),
        ("Unrecognized request argument supplied: max_tokens", False),
    ],
)
def test_limit_that_is_too_high_differs_from_one_that_is_not_accepted(words, too_high):
    assert is_too_high(error_response(400, words)) is too_high


def test_max_tokens_goes_by_its_newer_name_and_then_not_at_all():
    renamed = without_parameter({"max_tokens": 5, "top_p": 1}, "max_tokens")
    assert renamed == {"top_p": 1, "max_completion_tokens": 5}
    assert without_parameter(renamed, "max_completion_tokens") == {"top_p": 1}


def test_schema_becomes_plain_json_and_then_nothing():
    schema = {"response_format": {"type": "json_schema", "json_schema": {}}, "top_p": 1}
    plain = without_parameter(schema, "response_format")
    assert plain == {"response_format": {"type": "json_object"}, "top_p": 1}
    assert without_parameter(plain, "response_format") == {"top_p": 1}


def ignored_after(replies: list[str]) -> int | None:
    watch = FormatWatch()
    return next((number for number, text in enumerate(replies, start=1) if watch.ignores(text)), None)


def test_format_is_ignored_by_a_server_whose_first_replies_are_plain():
    assert ignored_after(["It is neutral."] * 5) == 3


def test_format_that_was_honoured_once_is_believed():
    assert ignored_after(["It is neutral.", '```json\n{"answer": 1}', *["It is neutral."] * 9]) is None


def test_default_sampling_is_sent_without_neutral_values():
    generation = Generation(teachers=({"name": "t", "endpoint": "http://t/v1", "model": "m"},))
    assert sampling_parameters(generation, 128, None) == {"temperature": 0.2, "top_p": 0.1, "max_tokens": 128}


def test_key_of_a_reply_depends_on_all_that_determines_it():
    messages = [{"role": "user", "content": "a"}]
    keys = {
        ReplyKeys("m", {"temperature": 0.2}).key(messages),
        ReplyKeys("n", {"temperature": 0.2}).key(messages),
        ReplyKeys("m", {"temperature": 0.3}).key(messages),
        ReplyKeys("m", {"temperature": 0.2}, sample=1).key(messages),
        ReplyKeys("m", {"temperature": 0.2}).key([{"role": "user", "content": "b"}]),
    }
    assert len(keys) == 5
    assert ReplyKeys("m", {"a": 1, "b": 2}).key(messages) == ReplyKeys("m", {"b": 2, "a": 1}).key(messages)
