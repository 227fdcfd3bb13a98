"""Log-probabilities as servers send them, and as they are stored."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.chat.completions import read_completion
from distillery_trainer.chat.reply import Reply
from distillery_trainer.chat.token_logprobs import Position, joined_bytes, pack, read_content, read_prompt, unpack


def entry(token, logprob, *others, data=None):
    """A token in OpenAI's form."""
    listed = [{"token": text, "logprob": value, "bytes": None} for text, value in others]
    return {"token": token, "logprob": logprob, "bytes": data, "top_logprobs": listed}


# --- reading


def test_positions_of_a_reply_have_the_token_itself_first_and_the_most_likely_others():
    content = [entry("neut", -1.5, ("ent", -0.5), ("neut", -1.5), ("maybe", -3.0)), entry("ral", -0.25, ("ral", -0.25))]
    assert read_content({"content": content}) == [
        Position("neut", (("neut", -1.5), ("ent", -0.5), ("maybe", -3.0))),
        Position("ral", (("ral", -0.25),)),
    ]


def test_tokens_that_a_server_names_by_id_are_ids_and_their_bytes_are_the_text():
    sent = entry("token_id:9174", -0.5, ("token_id:253", -1.0), data=[32, 110])
    assert read_content({"content": [sent]}) == [Position(" n", ((9174, -0.5), (253, -1.0)))]


def test_part_of_a_character_is_kept_as_its_bytes():
    first, second = (entry("bytes", -0.5, data=data) for data in ([0xC3], [0xA9]))
    positions = read_content({"content": [first, second]})
    assert joined_bytes(positions).decode() == "é"
    assert unpack(pack(positions)) == positions


def test_unlikely_alternatives_are_left_out_and_the_token_itself_never():
    positions = read_content({"content": [entry("a", -9999.0, ("b", -0.01), ("c", -9.5))]})
    assert positions == [Position("a", (("a", -9999.0), ("b", -0.01)))]


@pytest.mark.parametrize(
    "sent",
    [
        None,
        [],
        "x",
        {"content": None},
        {"content": [None]},
        {"content": [{"token": 5, "logprob": -1}]},
        {"content": [{"token": "a"}]},
        {"content": [{"token": "a", "logprob": "high"}]},
        {"content": [{"token": "a", "logprob": float("nan")}]},
        {"content": [entry("a", -1.0), {"token": "b"}]},
    ],
)
def test_anything_else_is_no_log_probabilities(sent):
    assert read_content(sent) == []


def vllm(text, logprob, **others):
    stated = {"1": {"logprob": logprob, "rank": 9, "decoded_token": text}}
    return stated | {name: {"logprob": value, "rank": 1, "decoded_token": "x"} for name, value in others.items()}


def test_positions_of_a_given_text_are_the_last_of_the_prompt():
    sent = [None, vllm("user", -1.0), vllm(' "', -0.25), vllm("neut", -0.5, **{"77": -1.0}), vllm("ral", -0.125)]
    assert read_prompt(sent, "neutral") == [
        Position("neut", ((1, -0.5), (77, -1.0))),
        Position("ral", ((1, -0.125),)),
    ]
    assert [position.text for position in read_prompt(sent, '"neutral')] == [' "', "neut", "ral"]


@pytest.mark.parametrize(
    "sent", [None, {}, [], [None], [None, vllm("ral", -1.0)], [{"a": 1}], [{"1": {"logprob": -1}}]]
)
def test_prompt_without_the_whole_text_has_no_positions(sent):
    assert read_prompt(sent, "neutral") == []


def completion(**more):
    choice = {"message": {"content": "yes"}, "finish_reason": "stop", "logprobs": {"content": [entry("yes", -0.5)]}}
    return json.dumps({"choices": [choice], **more}).encode()


def test_reply_has_log_probabilities_only_where_they_were_requested():
    reply = read_completion(completion(), 0.1, reads_logprobs=True)
    assert unpack(reply.logprobs) == [Position("yes", (("yes", -0.5),))]
    assert read_completion(completion(), 0.1).logprobs is None


def test_scored_text_has_those_of_the_prompt():
    body = completion(prompt_logprobs=[None, vllm("neutral", -0.25)])
    scored = read_completion(body, 0.1, reads_logprobs=True, scored_text="neutral")
    assert unpack(scored.logprobs) == [Position("neutral", ((1, -0.25),))]


# --- storing


def test_journal_stores_the_field_only_where_there_is_something_in_it():
    assert "logprobs" not in Reply("yes", "stop").stored_fields
    assert Reply("yes", "stop", logprobs="x").stored_fields["logprobs"] == "x"


TOKENS = st.one_of(st.text(max_size=6), st.integers(min_value=0, max_value=300_000))
VALUES = st.floats(min_value=-9984, max_value=0, width=16)
POSITIONS = st.lists(
    st.builds(
        Position,
        st.binary(max_size=8).map(lambda data: data.decode("utf-8", "surrogateescape")),
        st.lists(st.tuples(TOKENS, VALUES), min_size=1, max_size=4).map(tuple),
    ),
    max_size=5,
)


@given(POSITIONS)
def test_what_is_packed_is_unpacked_unchanged(positions):
    assert unpack(pack(positions)) == positions


@given(
    st.one_of(
        st.text(max_size=40), st.binary(max_size=40).map(lambda data: __import__("base64").b64encode(data).decode())
    )
)
def test_damaged_text_is_a_value_error(packed):
    with pytest.raises(ValueError, match="damaged"):
        unpack(packed)


def test_answer_of_three_tokens_with_twenty_alternatives_takes_few_bytes():
    alternatives = tuple((f" word{number}", -0.5 - number / 4) for number in range(21))
    assert len(pack([Position(" word0", alternatives)] * 3)) < 400
