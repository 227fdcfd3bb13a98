"""Which replies are read at all: whole ones that a model did not refuse to write."""

import pytest

from distillery_api.run_config import RunConfig
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.data.rows import Rejection
from distillery_trainer.tasks import task_for
from distillery_trainer.tasks.read_reply import ParsedReply, read_reply
from generate_run import GenerateRun
from task_definitions import task_definition


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("neutral", "length", output_tokens=128), "truncated"),
        (Reply("", "max_tokens"), "truncated"),
        (Reply("neutral", "tool_calls"), "truncated"),
        (Reply("", "content_filter"), "content_filter"),
        (Reply("", "stop", refusal="I cannot."), "refused"),
        (Failure("timeout", "No complete reply."), "timeout"),
    ],
)
def test_reply_is_rejected_before_its_text_is_read(tmp_path, reply, reason):
    task = task_for(RunConfig.read(GenerateRun(tmp_path, "http://127.0.0.1:9/v1").config_file))
    assert read_reply(reply, task, "").rejection.reason == reason


def test_complete_reply_is_read(tmp_path):
    task = task_for(RunConfig.read(GenerateRun(tmp_path, "http://127.0.0.1:9/v1").config_file))
    assert read_reply(Reply("Neutral.", "stop"), task, "") == ParsedReply("neutral")


@pytest.mark.parametrize(
    ("task", "length", "message"),
    [
        ("Math", 65_537, "The reply has 65,537 characters, more than the 65,536 that are read."),
        ("MultipleChoice", 1_048_576, "The reply has 1,048,576 characters, more than the 65,536 that are read."),
        ("Conversation", 262_145, "The reply has 262,145 characters, more than the 262,144 that are read."),
    ],
)
def test_reply_of_absurd_length_is_rejected_before_its_text_is_read(task, length, message):
    parsed = read_reply(Reply("1" * length, "stop"), task_definition(task), "")
    assert parsed == ParsedReply(Rejection("too_long", message))


def test_reply_as_long_as_is_read_is_read():
    assert read_reply(Reply(f"{' ' * 65_535}7", "stop"), task_definition("Math"), "") == ParsedReply("7")
