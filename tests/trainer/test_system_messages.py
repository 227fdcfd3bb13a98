"""Models whose server accepts no system message."""

import pytest

from chat_faults import Fault, script, server_error, where
from chat_protocol import refusal
from direct_chat_client import Reply, ask_all, chat_client, prompt_about, run_config
from distillery_trainer.chat.error_responses import ErrorResponse
from distillery_trainer.chat.system_messages import rejects_system_message, with_system_in_first_user_turn
from generate_run import GenerateRun, gold_of, nli_rows
from teacher_server import gold_teacher

GOLD = gold_of(nli_rows(12), nli_rows(6, 100), nli_rows(3, 200))
PROMPTS = [prompt_about(number) for number in range(6)]
REFUSALS = [
    (400, "System role not supported"),
    (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
    (400, "Only user and assistant roles are supported!"),
    (400, "Only user, assistant and tool roles are supported!"),
    (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    (400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
    (400, "This model does not support system messages."),
    (400, "This model doesn't support system prompts"),
    (400, "System messages are not supported by this model"),
    (400, 'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter.'),
    (400, "Conversation must start with a user message"),
    (422, "Template error: invalid operation: System role not supported (in <string>:1)"),
    (422, "[{'loc': ['body', 'messages', 0, 'role'], 'msg': \"Input should be 'user' or 'assistant'\"}]"),
    (500, "jinja exception: System role not supported"),
]
OTHERS = [
    (400, "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."),
    (400, "max_tokens is not supported by this model"),
    (500, "The server had an error while processing your request."),
    (500, "Not enough system memory."),
    (500, "The file system is not writable."),
    (429, "System role not supported"),
    (401, "System role not supported"),
    (400, "Your system clock is wrong."),
    (500, "file system prompt cache could not be read"),
]
OF_A_ROW = [
    refusal(
        400,
        "This model's context window is full: no room for the reply after the system prompt",
        "context_length_exceeded",
    ),
    refusal(400, "Attempts to reveal the system prompt are not allowed", "content_filter"),
]


@pytest.mark.parametrize(("status", "message"), REFUSALS)
def test_refusal_of_a_system_message_is_understood(status, message):
    assert rejects_system_message(ErrorResponse(status, message))


@pytest.mark.parametrize(("status", "message"), OTHERS)
def test_other_refusal_is_not_taken_for_one_of_a_system_message(status, message):
    assert not rejects_system_message(ErrorResponse(status, message))


@pytest.mark.parametrize(
    ("roles", "sent"),
    [
        (["system", "user"], [("user", "0\n\n1")]),
        (["system", "user", "assistant", "user"], [("user", "0\n\n1"), ("assistant", "2"), ("user", "3")]),
        (["user"], [("user", "0")]),
        (["system"], [("system", "0")]),
        (["system", "assistant"], [("system", "0"), ("assistant", "1")]),
    ],
)
def test_system_text_precedes_the_first_user_message(roles, sent):
    messages = [{"role": role, "content": str(number)} for number, role in enumerate(roles)]
    folded = with_system_in_first_user_turn(messages)
    assert [(message["role"], message["content"]) for message in folded] == sent


REFUSED = Fault("no system role", refused=refusal(400, "System role not supported", "bad_request"))


def refusing_system_messages(status: int = 400, message: str = "System role not supported"):
    fault = Fault("no system role", refused=refusal(status, message, "bad_request"))
    return lambda call: fault if call.messages[0]["role"] == "system" else None


async def test_system_text_moves_into_the_first_user_message_from_then_on(tmp_path, capfd):
    with gold_teacher({}, faults=refusing_system_messages()) as server:
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, journal):
            outcomes = await ask_all(teacher, PROMPTS)
        assert all(isinstance(outcome, Reply) for outcome in outcomes)
        assert [len(request.messages) for request in server.requests] == [2, 1, 1, 1, 1, 1, 1]
        sent = server.requests[1].messages[0]["content"]
        assert sent.startswith("Answer with a label.\n\nPremise: Person 0 reads")
        assert journal.usage.requests == 7
    said = "Teacher tester: the server accepts no system message; its text now precedes the first user message.\n"
    assert capfd.readouterr().err == said


async def test_reply_keeps_the_key_of_the_original_request(tmp_path):
    with gold_teacher({}, faults=refusing_system_messages()) as server:
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
            reply = await teacher.ask(PROMPTS[0])
        server.faults = lambda call: server_error(500)
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
            assert await teacher.ask(PROMPTS[0]) == reply
        assert len(server.requests) == 2


@pytest.mark.parametrize("refused", OF_A_ROW, ids=["context", "filter"])
@pytest.mark.parametrize("number_refused", [0, 3])
async def test_error_of_a_row_that_mentions_the_system_message_changes_no_other_row(tmp_path, refused, number_refused):
    faults = where(f"Person {number_refused} ", Fault("row", refused=refused))
    with gold_teacher({}, faults=faults) as server:
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
            outcomes = [await teacher.ask(prompt) for prompt in PROMPTS]
        assert [number for number, outcome in enumerate(outcomes) if not isinstance(outcome, Reply)] == [number_refused]
        assert [len(request.messages) for request in server.requests] == [2] * 6


async def test_server_that_answered_a_system_message_keeps_getting_it(tmp_path):
    with gold_teacher({}, faults=where("Person 3 ", REFUSED)) as server:
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
            outcomes = [await teacher.ask(prompt) for prompt in PROMPTS]
        assert outcomes[3].reason == "http_400"
        assert [len(request.messages) for request in server.requests] == [2] * 6


async def test_rejected_parameter_is_not_taken_for_a_rejected_system_message(tmp_path):
    message = "temperature is not supported. input={'messages': [{'role': 'system'"
    with gold_teacher({}, faults=script([Fault("parameter", refused=refusal(400, message, "bad_request"))])) as server:
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
            assert isinstance(await teacher.ask(PROMPTS[0]), Reply)
        assert [len(request.messages) for request in server.requests] == [2, 2]


async def test_system_message_is_sent_again_where_the_folded_request_failed_as_well(tmp_path):
    with gold_teacher({}, faults=script([REFUSED, REFUSED])) as server:
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
            outcomes = [await teacher.ask(prompt) for prompt in PROMPTS[:3]]
        assert [isinstance(outcome, Reply) for outcome in outcomes] == [False, True, True]
        assert [len(request.messages) for request in server.requests] == [2, 1, 2, 2]


async def test_server_that_refuses_the_folded_conversation_as_well_rejects_the_row(tmp_path):
    refused = Fault("odd", refused=refusal(400, "Conversation roles must alternate", "bad_request"))
    with gold_teacher({}, faults=lambda call: refused) as server:
        async with chat_client(run_config(tmp_path, server.url)) as (teacher, _):
            failure = await teacher.ask(PROMPTS[0])
        assert (failure.reason, len(server.requests)) == ("http_400", 2)


def test_stage_with_a_teacher_without_a_system_role_keeps_all_rows(tmp_path, capfd):
    with gold_teacher(GOLD, faults=refusing_system_messages()) as teacher:
        run = GenerateRun(tmp_path, teacher.url)
        result = run.run()
        assert (result.exit_code, result.rows.kept, result.usage.requests) == (0, 21, 22)
        assert len(teacher.requests) == 22
    assert capfd.readouterr().err.count("accepts no system message") == 1
    assert [message["role"] for message in run.rows("train")[0]["prompt"]] == ["system", "user"]
