"""The example request of a served student."""

import json

from distillery_api.paths import Artefact
from distillery_operator.local.example_message import example_message
from distillery_operator.local.run_result import RunResult

RESULT = RunResult.model_construct(files={Artefact.TEST: "test.jsonl"})


def example(folder, *messages):
    (folder / "test.jsonl").write_text(json.dumps({"studentPrompt": messages}) + "\n")
    return example_message(folder, RESULT)


def test_example_is_the_last_user_message(tmp_path):
    assert (
        example(tmp_path, {"role": "system", "content": "Answer."}, {"role": "user", "content": "Which?"}) == "Which?"
    )


def test_example_of_a_row_with_a_picture_shows_where_its_data_goes(tmp_path):
    message = {"role": "user", "content": "\ufffcWhich?", "pictures": ["0.png"]}
    assert example(tmp_path, message) == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}},
        {"type": "text", "text": "Which?"},
    ]


def test_row_that_cannot_be_read_has_no_example(tmp_path):
    assert example(tmp_path, {"role": "system", "content": "Answer."}) == "…"
