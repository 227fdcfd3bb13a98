"""A team's first run: 400 German reviews in a CSV file, and a manifest of twelve lines."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from chat_protocol import Answer, last_user_text, text_of
from chat_server import TeacherServer
from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult
from distillery_operator.manifest_input.manifest_file import read_manifest
from distillery_operator.planning.plan import make_plan
from distillery_operator.planning.stage_config import StageLocations, run_config
from distillery_trainer.__main__ import main

# A student that is nowhere is not checked, which takes seconds; this must hold before the Hub's library is imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
MANIFEST = """\
apiVersion: distillery.dev/v1alpha1
kind: Distillation
metadata: {name: stimmung}
spec:
  task: Classification
  data:
    train: {uri: rückmeldungen.csv, columns: {prompt: Rückmeldung, gold: Stimmung}}
    validationFraction: 0.4
    labels: LABELS
  generation: {OPTIONS, teachers: [{name: lehrer, endpoint: "URL", model: teacher}]}
  student: {model: {uri: hf://org/student}}
"""
WORDS = {"positiv": "großartig", "neutral": "mittelmäßig", "negativ": "völlig überteuert"}
LABELS = "[positiv, neutral, negativ]"


def write_reviews(folder: Path, gold: dict[str, str]) -> None:
    """400 rows as a German spreadsheet writes them."""
    moods = list(WORDS)
    lines = [f"{n};Zimmer {n}: „{WORDS[moods[n % 3]]}“, fand Jürgen.;{gold[moods[n % 3]]}" for n in range(400)]
    text = "\ufeffNummer;Rückmeldung;Stimmung\r\n" + "\r\n".join(lines) + "\r\n"
    (folder / "rückmeldungen.csv").write_bytes(text.encode())


def mood_of(messages: list[dict[str, Any]]) -> str:
    return next(mood for mood, word in WORDS.items() if word in last_user_text(messages))


def generate(folder: Path, teacher: TeacherServer, labels: str, options: str) -> StageResult:
    """The generate stage of the manifest, as a local run plans it."""
    text = MANIFEST.replace("LABELS", labels).replace("OPTIONS", options).replace("URL", teacher.url)
    (folder / "stimmung.yaml").write_text(text)
    plan = make_plan(read_manifest(folder / "stimmung.yaml").distillation)
    locations = StageLocations(str(folder / "workspace"), str(folder), {})
    config = run_config(plan, plan.stage(Stage.GENERATE), locations)
    (folder / "run.json").write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    main(["generate", "--config", str(folder / "run.json")])
    return StageResult.model_validate_json(config.stage_folder.result.read_bytes())


@pytest.mark.parametrize("reasoned", [False, True])
def test_german_reviews_are_labelled_without_a_word_of_natural_language_inference(tmp_path, reasoned: bool):
    assert len(MANIFEST.splitlines()) <= 12

    def answer(messages: Any) -> Answer:
        mood = mood_of(messages)
        return Answer(json.dumps({"reason": "Das Wort sagt es.", "label": mood}) if reasoned else mood)

    write_reviews(tmp_path, {mood: mood for mood in WORDS})
    instructions = 'prompts: {instructions: "Ein Lob mit Vorbehalt ist neutral."}'
    with TeacherServer(answer) as teacher:
        options = f"chainOfThought: {str(reasoned).lower()}, {instructions}"
        result = generate(tmp_path, teacher, LABELS, options)
        requests = [request.body["messages"] for request in teacher.requests]
    assert (result.state, result.rows.read, result.rows.rejected) == ("Done", 400, 0)
    assert len(requests) == 400
    texts = [" ".join(text_of(message) for message in messages) for messages in requests]
    assert [text for text in texts if "Ein Lob mit Vorbehalt ist neutral." not in text] == []
    assert [text for text in texts if "positiv, neutral, negativ" not in text] == []
    said = " ".join(texts).casefold()
    files = [path for path in (tmp_path / "workspace").rglob("*") if path.suffix in (".jsonl", ".json", ".md", ".txt")]
    written = " ".join(path.read_text() for path in files).casefold()
    assert [word for word in ("premise", "hypothesis", "entail", "nli") if word in said or word in written] == []


def test_numbers_in_the_table_become_the_names_of_labels(tmp_path):
    write_reviews(tmp_path, {"positiv": "1", "neutral": "0", "negativ": "-1"})
    lob = "{name: positiv, value: 1, description: Der Gast lobt.}"
    labels = f"[{lob}, {{name: neutral, value: 0}}, {{name: negativ, value: -1}}]"
    with TeacherServer(lambda messages: Answer(mood_of(messages))) as teacher:
        result = generate(tmp_path, teacher, labels, "filters: {disagreesWithGold: true}")
        system = text_of(teacher.requests[0].body["messages"][0])
    assert (result.state, result.rows.rejected) == ("Done", 0)
    assert "\n- positiv: Der Gast lobt.\n- neutral\n- negativ" in system


def test_gold_that_is_no_label_is_named_before_any_request(tmp_path):
    write_reviews(tmp_path, {"positiv": "positiv", "neutral": "neutral", "negativ": "schlecht"})
    with TeacherServer(lambda messages: Answer(mood_of(messages))) as teacher:
        result = generate(tmp_path, teacher, LABELS, "samples: 1")
        assert teacher.requests == []
    assert "csv, lines 4, 7, 10 and 130 more: the gold label" in result.message
    assert '"schlecht" is not one of positiv, neutral, negativ; correct it' in result.message
