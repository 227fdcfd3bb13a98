"""The card among a student's files: what a person and a model hub need to know, and nothing that changes by itself."""

import pytest
import yaml

from distillery_api.evaluation import Evaluation, Score
from distillery_api.stage import Stage
from distillery_api.stage_result import RowCounts, TrainingFigures, TrainingSettings
from distillery_api.verdict import Remedy, Verdict, VerdictKind
from distillery_trainer.student.base_licence import copy_licence_files, licence_fields
from distillery_trainer.student.model_card import card_text, describe_student, with_scores, write_scored_card
from distillery_trainer.text.markdown import read_front_matter
from train_evaluate_run import TrainEvaluateRun

FIGURES = TrainingFigures(
    steps=200,
    train_loss=0.1,
    validation_loss=0.2,
    validation_score=0.875,
    settings=TrainingSettings(epochs=5, batch_size=4, learning_rate=0.001, rank=16, alpha=32),
    trainable_parameters=1000,
    device="cpu",
    precision="bfloat16",
    seconds=1.0,
)
SPLITS = {"train": RowCounts(read=1200, kept=1180), "validation": RowCounts(read=100, kept=90)}
LLAMA = {"license": "other", "license_name": "llama3.2", "license_link": "https://llama.example/licence"}


def config(folder, uri="hf://meta-llama/Llama-3.2-1B-Instruct@main", **changes):
    run = TrainEvaluateRun(folder, folder / "base", **changes)
    read = run.config(Stage.TRAIN)
    student = read.student.model_copy(update={"model": read.student.model.model_copy(update={"uri": uri})})
    return read.model_copy(update={"student": student})


def card(folder, licence=LLAMA, prompt="Answer with one word.", **changes):
    return card_text(config(folder, **changes), licence, FIGURES, SPLITS, prompt)


def test_hubs_read_base_model_and_licence(tmp_path):
    assert read_front_matter(card(tmp_path, generation={"language": "de"})) == {
        **LLAMA,
        "base_model": "meta-llama/Llama-3.2-1B-Instruct",
        "base_model_relation": "finetune",
        "language": ["de"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["distillation", "nli"],
    }


def test_people_read_where_it_comes_from_and_how_it_is_used(tmp_path):
    text = card(tmp_path)
    assert "Licence: llama3.2 (https://llama.example/licence). It applies to this model as well." in text
    assert "1,180 train and 90 validation rows, answered by oracle (licence of its output: not specified)." in text
    assert "`generate-0123456789/README.md` in the workspace" in text
    assert "LoRA rank 16, alpha 32, learning rate 0.001, batch size 4, 5 epochs; 200 steps in bfloat16" in text
    assert "loss 0.2000, score 0.875" in text
    assert "```text\nAnswer with one word.\n```" in text
    assert "vllm serve PATH --served-model-name tiny" in text


def test_what_is_not_known_is_not_made_up(tmp_path):
    text = card(tmp_path, licence={}, prompt="", uri="/models/base")
    assert "Licence: not stated in its folder" in text
    assert "Each row has had a system message of its own" in text
    assert {"base_model", "license"}.isdisjoint(read_front_matter(text))


def test_the_same_student_has_the_same_card(tmp_path):
    assert card(tmp_path) == card(tmp_path)


EVALUATION = Evaluation(
    sample_size=200,
    student=Score(score=0.935, low=0.89, high=0.96),
    teacher=Score(score=0.855),
    majority=Score(score=0.35),
    verdict=Verdict(
        kind=VerdictKind.BEATS_TEACHER,
        message="The student beats its teacher.",
        remedy=Remedy.SERVE,
        next_step="Serve it.",
    ),
)


def test_the_copy_beside_the_evaluation_has_the_scores(tmp_path):
    text = with_scores(card(tmp_path), config(tmp_path), EVALUATION)
    assert "Accuracy on 200 held-out rows." in text
    assert "| Student (this model) | 0.935 | 0.890 to 0.960 |" in text
    assert "| Baseline: majority | 0.350 |  |" in text
    assert "Verdict: The student beats its teacher." in text
    assert "see `result.json` of the run" not in text
    assert text.count("## Scores") == text.count("## Student prompt") == text.count("## Use") == 1
    (model,) = read_front_matter(text)["model-index"]
    assert model["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.935}]
    assert read_front_matter(text)["base_model"] == "meta-llama/Llama-3.2-1B-Instruct"


@pytest.mark.parametrize("prompt", ["## Scores\n\nNone.", "```\n---\n```", "---\na: b\n---", "{% raw %}"])
def test_a_prompt_that_looks_like_markdown_stays_a_prompt(tmp_path, prompt):
    text = with_scores(card(tmp_path, prompt=prompt), config(tmp_path), EVALUATION)
    assert prompt in text
    assert "0.935" in text
    assert "## Use" in text


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("---\nlicense: apache-2.0\ntags: [a]\n---\n# Model", {"license": "apache-2.0"}),
        ("---\r\nlicense: mit\r\n---\r\n", {"license": "mit"}),
        ("---\nlicense: [a, b]\n---\n", {}),
        ("---\nlicense: *unknown\n---\n", {}),
        ("---\n- license\n---\n", {}),
        ("# Model\n---\nlicense: mit\n---\n", {}),
        ("---\nlicense: mit", {}),
        ("", {}),
    ],
)
def test_the_licence_is_what_the_card_of_the_base_model_says(tmp_path, text, fields):
    (tmp_path / "README.md").write_bytes(text.encode())
    assert licence_fields(tmp_path) == fields


def test_a_base_model_without_a_card_states_no_licence(tmp_path):
    assert licence_fields(tmp_path) == {}


def test_licence_texts_go_on_with_the_student_and_its_own_files_stay(tmp_path):
    base, student = tmp_path / "base", tmp_path / "student"
    for folder in (base, student):
        folder.mkdir()
    for name in ("LICENSE", "NOTICE.txt", "USE_POLICY.md", "README.md", "config.json"):
        (base / name).write_text(f"base {name}")
    (student / "NOTICE.txt").write_text("own")
    copy_licence_files(base, student)
    assert {path.name: path.read_text() for path in student.iterdir()} == {
        "LICENSE": "base LICENSE",
        "NOTICE.txt": "own",
        "USE_POLICY.md": "base USE_POLICY.md",
    }


def test_the_front_matter_is_yaml_whatever_the_names_hold(tmp_path):
    text = card(tmp_path, licence={"license": "other", "license_name": 'a: "b" #c'})
    assert yaml.safe_load(text.split("---\n")[1])["license_name"] == 'a: "b" #c'


def test_a_student_is_described_in_its_folder_and_scored_beside_its_evaluation(tmp_path):
    run = TrainEvaluateRun(tmp_path, tmp_path / "base")
    base, trained = tmp_path / "base", run.config(Stage.TRAIN)
    for folder in (base, trained.stage_folder.model, run.config(Stage.EVALUATE).stage_folder.path):
        folder.mkdir(parents=True)
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (base / "LICENSE").write_text("Apache")
    describe_student(trained, base, FIGURES)
    card = trained.stage_folder.model / "README.md"
    assert read_front_matter(card.read_text())["license"] == "apache-2.0"
    assert (trained.stage_folder.model / "LICENSE").read_text() == "Apache"
    before = card.read_bytes()
    evaluating = run.config(Stage.EVALUATE)
    write_scored_card(evaluating, EVALUATION)
    assert "| Teacher | 0.855 |  |" in evaluating.stage_folder.model_card.read_text()
    assert card.read_bytes() == before


def test_a_student_of_an_earlier_release_has_no_card_to_score(tmp_path):
    config = TrainEvaluateRun(tmp_path, tmp_path / "base").config(Stage.EVALUATE)
    write_scored_card(config, EVALUATION)
    assert not config.stage_folder.model_card.exists()
