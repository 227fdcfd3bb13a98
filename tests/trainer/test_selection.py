"""Conditions on the records of logs and other files."""

import io
import json

import pyarrow
import pytest
from pyarrow import parquet

from data_source import refusal, rows_of, write
from data_source import source as source_of
from distillery_trainer.data.row_reader import check_rows
from distillery_trainer.data.rows import RejectedRow, Row

USER = [{"role": "user", "content": "Why?"}]
REPLY = {"choices": [{"message": {"content": "So."}, "finish_reason": "stop"}]}
STORED = {"object": "chat.completion", "model": "small", "metadata": {"workload": "faq"}, "messages": USER, **REPLY}
VLLM = {
    "request": {"model": "small", "messages": USER, "metadata": {"workload": "faq"}},
    "response": {"model": "small", **REPLY},
}
BODIES = {"request": {"body": VLLM["request"]}, "response": {"status_code": 200, "body": VLLM["response"]}}
LITELLM = {
    "status": "success",
    "model": "small",
    "messages": USER,
    "response": REPLY,
    "metadata": {"requester_metadata": {"workload": "faq"}, "user_api_key_alias": "team"},
    "request_tags": ["blue", "green"],
    "stream": False,
    "response_cost": 0.25,
}
BEDROCK = {
    "schemaType": "ModelInvocationLog",
    "modelId": "small",
    "requestMetadata": {"workload": "faq"},
    "input": {"inputBodyJson": {"messages": USER}},
    "output": {"outputBodyJson": {"output": {"message": {"content": [{"text": "So."}]}}, "stopReason": "stop"}},
}
STREAMED = BEDROCK | {
    "output": {"outputBodyJson": [{"delta": {"text": "So."}}, {"delta": {"stop_reason": "stop"}}]},
}
EVALS = {
    "datasource_item": {"metadata": {"workload": "faq"}},
    "sample": {
        "model": "small",
        "finish_reason": "stop",
        "input": USER,
        "output": [{"role": "assistant", "content": "So."}],
    },
}
FINE_TUNING = {"messages": USER, "metadata": {"workload": "faq"}, "model": "small", "finish": "stop"}
LOGS = {
    "stored": STORED,
    "vllm": VLLM,
    "bodies": BODIES,
    "litellm": LITELLM,
    "bedrock": BEDROCK,
    "streamed": STREAMED,
    "evals": EVALS,
    "chat": FINE_TUNING,
}


def takes(folder, record: dict, where: dict) -> bool:
    [item] = rows_of(folder, json.dumps(record).encode(), where=where)
    assert isinstance(item, Row | RejectedRow), item
    assert isinstance(item, Row) or item.reason == "not_selected"
    return isinstance(item, Row)


@pytest.mark.parametrize("record", LOGS.values(), ids=LOGS)
def test_model_finish_and_metadata_mean_the_same_in_every_log(tmp_path, record):
    wanted = {"model": "small", "finish": "stop", "metadata.workload": "faq"}
    assert takes(tmp_path, record, wanted)
    for key, value in wanted.items():
        assert takes(tmp_path, record, wanted | {key: ["another", value]})
        assert not takes(tmp_path, record, wanted | {key: "another"})
        assert not takes(tmp_path, record, wanted | {key: ""})


@pytest.mark.parametrize(
    ("where", "taken"),
    [
        ({"stream": False}, True),
        ({"stream": "false"}, True),
        ({"stream": True}, False),
        ({"response_cost": 0.25}, True),
        ({"response_cost": "0.25"}, True),
        ({"response.choices.0.finish_reason": "stop"}, True),
        ({"response.choices.finish_reason": "stop"}, True),
        ({"response.choices.7.finish_reason": "stop"}, False),
        ({"request_tags": "green"}, True),
        ({"request_tags": ["red", "blue"]}, True),
        ({"request_tags": "gre"}, False),
        ({"metadata.user_api_key_alias": "team"}, True),
        ({"error_str": ""}, True),
        ({"error_str": ["", "none"]}, True),
        ({"model": "Small"}, False),
        ({"model.name": "small"}, False),
    ],
)
def test_values_are_compared_as_text(tmp_path, where, taken):
    assert takes(tmp_path, LITELLM, where) is taken


def test_key_with_a_dot_goes_before_the_path(tmp_path):
    assert takes(tmp_path, {"prompt": "a", "a.b": "1", "a": {"b": "2"}}, {"a.b": "1"})


def test_column_of_a_table_may_be_a_condition_and_need_not_be_named(tmp_path):
    columns, where = {"prompt": "q"}, {"lang": "de"}
    csv = b"q,lang,other\nWarum?,de,1\nWhy?,en,2\n"
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table({"q": ["Warum?", "Why?"], "lang": ["de", "en"], "other": [1, 2]}), stream)
    for name, content in (("rows.csv", csv), ("rows.parquet", stream.getvalue())):
        row, skipped = rows_of(tmp_path, content, name, columns=columns, where=where)
        assert (row.text, skipped.reason, skipped.message) == ("Warum?", "not_selected", '"lang" is en (where).')


def test_chat_rows_may_have_a_key_for_a_condition(tmp_path):
    [row] = rows_of(tmp_path, json.dumps({"messages": USER, "lang": "de"}).encode(), where={"lang": "de"})
    assert row.text == "Why?"


def test_records_that_are_left_out_are_counted(tmp_path):
    lines = [STORED, STORED | {"model": "large"}, STORED, STORED | {"metadata": None}]
    content = b"".join(json.dumps(line | {"id": str(number)}).encode() + b"\n" for number, line in enumerate(lines))
    where = {"model": "small", "metadata.workload": "faq"}
    check = check_rows([source_of(write(tmp_path, "log.jsonl", content), where=where)], lambda _: None)
    assert (check.rows, check.skipped) == ({"train": 2}, {"train": {"not_selected": 2}})


def test_record_that_is_not_selected_may_be_no_row(tmp_path):
    broken = {"object": "chat.completion", "choices": None, "model": "large"}
    first, second = rows_of(tmp_path, "\n".join(map(json.dumps, [STORED, broken])).encode(), where={"model": "small"})
    assert (type(first), second.reason) == (Row, "not_selected")


def test_condition_on_a_key_that_no_record_has_is_an_error(tmp_path):
    where = {"model": "large", "metadata.wrkload": "faq", "error": ""}
    assert refusal(tmp_path, json.dumps(STORED).encode(), where=where) == (
        'where: no record has "metadata.wrkload"; the keys of the first one are "object", "model", "metadata",'
        ' "messages", "choices".'
    )


def test_conditions_that_no_record_meets_are_an_error(tmp_path):
    assert "contains no usable rows (skipped records: 1 not_selected)." in refusal(
        tmp_path, json.dumps(STORED).encode(), where={"model": "large"}
    )


# --- evals


@pytest.mark.parametrize(
    ("record", "row"),
    [
        ({"input": USER, "ideal": "So."}, ("Why?", "So.", None)),
        ({"input": "Why?", "ideal": ["So.", "So!"]}, ("Why?", ["So.", "So!"], None)),
        (EVALS, ("Why?", None, "So.")),
        ({"item": {"q": 1}, "sample": {"input": USER, "output": []}}, ("Why?", None, None)),
    ],
)
def test_samples_of_evals_are_rows(tmp_path, record, row):
    [found] = rows_of(tmp_path, json.dumps(record).encode())
    assert (found.text, found.gold, found.reply) == row


def test_items_of_evals_are_read_by_the_names_of_their_keys(tmp_path):
    record = {"item": {"question": "Why?", "answer": "So."}}
    columns = {"prompt": "item.question", "gold": "item.answer"}
    [row] = rows_of(tmp_path, json.dumps(record).encode(), columns=columns)
    assert (row.text, row.gold) == ("Why?", "So.")
    [error] = rows_of(tmp_path, json.dumps(record).encode(), format="OpenAIEvals")
    assert error.rule.startswith('"input" is missing; for rows of {"item": {...}} name the keys in columns')
