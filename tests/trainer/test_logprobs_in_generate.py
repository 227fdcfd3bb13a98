"""Log-probabilities from a teacher's endpoint: asked for, stored with the rows, and never asked for twice."""

import pytest

from distillery_trainer.chat.token_logprobs import unpack
from generate_run import GenerateRun, gold_of, nli_rows
from logprobs_teacher import StudentTokens, logprobs_teacher
from small_student import small_student

TRAIN, VALIDATION, TEST = nli_rows(6), nli_rows(3, 100), nli_rows(2, 200)
LOGITS = {"objective": {"kind": "Logits"}}
PROBES = 2


def teacher(tokens=None, **server):
    return logprobs_teacher(gold_of(TRAIN, VALIDATION, TEST), tokens or StudentTokens(), **server)


def run(root, server, *, folder="generate-0123456789", training=LOGITS, **changes):
    """A generate stage whose student is not here, unless it is given."""
    config = {"training": training, **changes}
    stage = GenerateRun(root, server.url, TRAIN, VALIDATION, TEST, config=config, folder=folder)
    stage.run()
    return stage


def logprobs(stage):
    """By row, the packed field; None where there is none."""
    return {row["id"]: row.get("logprobs") for row in stage.rows("train")}


def texts(packed):
    return [position.text for position in unpack(packed)]


def requests_with(server, name):
    return [request for request in server.requests if name in request.body]


def test_rows_have_those_of_their_answers_and_no_row_is_sent_twice(tmp_path):
    with teacher() as server:
        stage = run(tmp_path, server)
        assert {request.body["top_logprobs"] for request in requests_with(server, "logprobs")} == {20}
        assert len(server.requests) == PROBES + 11
    found = logprobs(stage)
    assert len(found) == 6
    assert texts(found["train-2"]) == ["neutral"]
    [position] = unpack(found["train-2"])
    assert position.alternatives == (
        ("neutral", pytest.approx(-0.2876, abs=1e-3)),
        ("ent", pytest.approx(-1.386, abs=1e-3)),
    )
    assert stage.result.message.endswith("Log-probabilities of 6 of 6 train answers.")


def test_next_attempt_asks_for_nothing(tmp_path):
    with teacher() as server:
        first = logprobs(run(tmp_path, server))
        sent = len(server.requests)
        assert logprobs(run(tmp_path, server, folder="generate-2222222222")) == first
        assert len(server.requests) == sent


def test_run_for_labels_is_as_before_and_its_replies_serve_both_ways(tmp_path):
    with teacher() as server:
        labels = run(tmp_path, server, training={})
        assert not requests_with(server, "logprobs")
        assert len(server.requests) == 11
        assert set(logprobs(labels).values()) == {None}
        run(tmp_path, server, folder="generate-2222222222")
        assert len(server.requests) == 11 + PROBES + 6, "the train rows alone are asked once more"
        run(tmp_path, server, folder="generate-3333333333", training={})
        assert len(server.requests) == 11 + PROBES + 6


def test_vllm_scores_stored_replies_without_generating_them_again(tmp_path):
    with teacher(scores_texts=True) as server:
        run(tmp_path, server, training={})
        sent = len(server.requests)
        stage = run(tmp_path, server, folder="generate-2222222222")
        scored = [request.body for request in server.requests[sent:] if "prompt_logprobs" in request.body]
        assert len(server.requests) == sent + PROBES + 6
        assert len(scored) == 1 + 6
    assert all(body["continue_final_message"] and body["max_tokens"] == 1 for body in scored)
    last = scored[-1]["messages"][-1]
    assert last["role"] == "assistant"
    assert last["content"].endswith(("entailment", "neutral", "contradiction")), "up to the answer's end"
    [position] = unpack(logprobs(stage)["train-2"])
    assert position.text == "neutral"
    assert position.alternatives[0] == (30627, pytest.approx(-0.2876, abs=1e-3))


def test_vllm_names_tokens_by_their_ids(tmp_path):
    with teacher(scores_texts=True) as server:
        stage = run(tmp_path, server)
        assert len(server.requests) == PROBES + 11
    assert [[token for token, _ in each.alternatives] for each in unpack(logprobs(stage)["train-2"])] == [[30627, 293]]


@pytest.mark.parametrize(("scores_texts", "found"), [(False, 0), (True, 6)])
def test_existing_replies_are_scored_and_never_requested(tmp_path, scores_texts, found):
    rows = [{**row, "messages": [*row["messages"], {"role": "assistant", "content": row["gold"]}]} for row in TRAIN]
    with teacher(scores_texts=scores_texts) as server:
        stage = GenerateRun(tmp_path, server.url, rows, VALIDATION, TEST, config={"training": LOGITS})
        stage.data = {"train": {"uri": "train.jsonl", "replies": "Keep"}}
        stage.run()
        assert len(server.requests) == PROBES + 5 + found
    assert len([value for value in logprobs(stage).values() if value]) == found


def test_answer_that_was_written_in_other_words_keeps_its_label(tmp_path):
    with logprobs_teacher(
        {
            text: label.upper() if label == "neutral" else label
            for text, label in gold_of(TRAIN, VALIDATION, TEST).items()
        },
        StudentTokens(),
    ) as server:
        stage = run(tmp_path, server)
    assert [bool(value) for value in logprobs(stage).values()] == [True, False, True, True, False, True]
    assert stage.result.message.endswith("Log-probabilities of 4 of 6 train answers.")


# --- refused before the rows are paid for


def test_teacher_without_log_probabilities_is_refused_before_its_rows_are_sent(tmp_path):
    with logprobs_teacher(gold_of(TRAIN), None) as server:
        stage = run(tmp_path, server)
        assert len(server.requests) == PROBES
    assert stage.result.message == (
        "training.objective.kind Logits: teacher tester gives no log-probabilities (its reply has none, although the"
        " request asks for them). Use a server that gives them, such as vLLM, ask for fewer"
        " (training.objective.logits.topLogprobs), or set the kind to Labels (docs/teachers.md)."
    )


def test_servers_own_words_are_in_the_sentence(tmp_path):
    with teacher(refused_parameters=("logprobs",)) as server:
        message = run(tmp_path, server).result.message
    assert "(HTTP 400: Unsupported parameter: 'logprobs' is not supported with this model)" in message


def test_server_that_was_set_right_is_tried_again(tmp_path):
    with logprobs_teacher(gold_of(TRAIN, VALIDATION, TEST), None) as server:
        assert run(tmp_path, server).result.exit_code == 2
        server.application.token_model = StudentTokens()
        assert run(tmp_path, server).result.exit_code == 0


def test_student_of_another_vocabulary_is_refused_before_the_rows_are_sent(tmp_path):
    with teacher(StudentTokens(letters=True)) as server:
        stage = run(tmp_path, server, student={"model": {"uri": str(small_student())}})
        assert len(server.requests) == PROBES
    message = stage.result.message
    assert message.startswith("training.objective.kind Logits needs a student with the vocabulary of its teacher; ")
    assert "has another one than teacher tester: it divides a text into" in message


def test_student_that_is_not_here_is_compared_when_it_is_trained(tmp_path, capsys):
    with teacher(StudentTokens(letters=True)) as server:
        stage = run(tmp_path, server)
    assert stage.result.exit_code == 0
    assert "The student's vocabulary is not compared with the teacher's yet" in capsys.readouterr().err
