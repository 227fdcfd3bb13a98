"""Students that read pictures, as tiny models from their families' own configuration classes: from the encoded row to
the trained, merged, evaluated and served student."""

from dataclasses import dataclass, replace
from datetime import date
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from starlette.testclient import TestClient
from transformers import AutoModelForImageTextToText

from distillery_api.stage import Stage
from distillery_trainer.data.picture_files import PictureFiles
from distillery_trainer.evaluation.batched_generation import BatchedGenerator, GenerationRequest
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.serving.application import StudentApi
from distillery_trainer.serving.served_model import ServedModel
from distillery_trainer.stages import evaluate, train
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.chat_template import Rendering
from distillery_trainer.student.check import check
from distillery_trainer.student.device import Device
from distillery_trainer.student.model_folder import ModelFolder, open_folder
from distillery_trainer.student.row_encoding import EncodedRow, RowEncoder, prompt_ids
from pictures import data_url, picture
from train_evaluate_run import TrainEvaluateRun, held_out_row
from vision_families import VISION_FAMILIES, write_vision_family

RENDERING = Rendering(thinking=False, today=date(2026, 11, 9))
CPU = Device("cpu", torch.float32, "cpu")
COLOURS = {"red": (230, 20, 20), "blue": (20, 20, 230)}
SYSTEM = "Say a label."


@pytest.fixture(scope="module", params=VISION_FAMILIES)
def name(request):
    return request.param


def colour_file(number: int) -> tuple[str, bytes]:
    """A label and a picture of about that colour; all differ."""
    label = list(COLOURS)[number % 2]
    return label, picture(tuple(abs(part - number) for part in COLOURS[label]))


@dataclass(frozen=True)
class Rows:
    """Rows about the pictures of a workspace."""

    pictures: PictureFiles

    def prompt(self, number: int, system: str = SYSTEM) -> list[dict[str, Any]]:
        shown = self.pictures.add(colour_file(number)[1])
        return [
            {"role": "system", "content": system},
            {"role": "user", "content": "\ufffcWhich colour?", "pictures": [shown]},
        ]

    def row(self, number: int) -> dict[str, Any]:
        completion = [{"role": "assistant", "content": colour_file(number)[0]}]
        return {"id": f"row-{number}", "prompt": self.prompt(number), "completion": completion, "teacher": "oracle"}

    def held_out(self, number: int) -> dict[str, Any]:
        label = colour_file(number)[0]
        prompts = {"studentPrompt": self.prompt(number), "teacherPrompt": self.prompt(number, "Think. " + SYSTEM)}
        return held_out_row(number, label, id=f"test-{number}", **prompts)


@dataclass(frozen=True)
class Trained:
    """A base model and its student."""

    name: str
    base: ModelFolder
    run: TrainEvaluateRun
    rows: Rows
    reader: ModelFolder
    """The student's folder."""
    student: Any
    """The merged student, as transformers loads it by itself."""

    @property
    def folder(self) -> Path:
        return self.run.folder(Stage.TRAIN)


@pytest.fixture(scope="module")
def trained(name, tmp_path_factory):
    """The student of twenty pictures, and of a row without any, by the train stage."""
    workspace = tmp_path_factory.mktemp("run")
    base = open_folder(write_vision_family(workspace / "base", name), "base", RENDERING.template)
    rows = Rows(PictureFiles(workspace / "pictures"))
    text = {**rows.row(0), "id": "text", "prompt": [{"role": "user", "content": "Say red."}]}
    run = TrainEvaluateRun(
        workspace,
        base.path,
        train=[*[rows.row(number) for number in range(20)] * 3, text],
        validation=[rows.row(number) for number in range(20, 32)],
        test=[rows.held_out(number) for number in range(32, 40)],
        training={
            "learningRate": 0.01,
            "epochs": 4,
            "batchSize": 10,
            "warmupSteps": 0,
            "lora": {"rank": 8, "alpha": 16},
        },
        task="Classification",
        labels=list(COLOURS),
    )
    train.run(run.config(Stage.TRAIN), ProgressReporter(Stage.TRAIN))
    folder = run.folder(Stage.TRAIN) / "model"
    student = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    reader = replace(open_folder(folder, "student"), pictures=rows.pictures)
    return Trained(name, replace(base, pictures=rows.pictures), run, rows, reader, student)


def by_the_library(trained, model, prompt, tokens=8):
    """What `generate` writes after one prompt, without the token that ends it."""
    names = [name for message in prompt for name in message.get("pictures", ())]
    ids = torch.tensor([prompt_ids(trained.reader, prompt)])
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **trained.reader.picture_inputs(ids, names),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=list(trained.reader.end_of_turn),
    )
    return list(takewhile(lambda token: token not in trained.reader.end_of_turn, output[0, ids.shape[1] :].tolist()))


# --- encoding


def test_prompt_has_the_tokens_of_each_picture_and_no_label_on_them(trained):
    row = RowEncoder(trained.base, 256).encode(trained.rows.row(0))
    assert isinstance(row, EncodedRow)
    token = trained.base.config.image_token_id
    assert row.input_ids.count(token) == VISION_FAMILIES[trained.name].picture_tokens
    assert [label for label in row.labels if label != -100] == row.input_ids[-row.answer_length :]
    assert trained.base.tokenizer.decode(row.input_ids[-row.answer_length :]) == "red<|im_end|>\n"
    assert row.pictures == (trained.rows.prompt(0)[-1]["pictures"][0],)
    assert row.input_ids[: -row.answer_length] == prompt_ids(trained.base, trained.rows.prompt(0))


def test_larger_picture_takes_more_tokens_where_the_family_says_so(trained):
    wide = trained.rows.pictures.add(picture("red", (16, 8)))
    prompt = [{"role": "user", "content": "\ufffcWhich colour?", "pictures": [wide]}]
    count = prompt_ids(trained.base, prompt).count(trained.base.config.image_token_id)
    assert count == {"LLaVA": 4, "Qwen 2.5 VL": 2}[trained.name]


def test_token_of_a_picture_in_a_text_is_rejected(trained):
    mark = trained.base.tokenizer.convert_ids_to_tokens(trained.base.config.image_token_id)
    row = trained.rows.row(0)
    row["prompt"][-1]["content"] += mark
    assert RowEncoder(trained.base, 256).encode(row).reason == "special_token"


# --- the student


def test_adapters_are_on_the_text_model_alone_and_the_rest_stays_as_it_was(trained):
    model = trained.base.load(torch.float32)
    layers = adapted_layers(model)
    assert {layer.rpartition(".")[2] for layer in layers} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    assert all(".language_model.layers." in layer for layer in layers)
    before, after = model.state_dict(), trained.student.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {f"{layer}.weight" for layer in layers}


def test_student_has_learnt_to_see(trained):
    """Pictures that it was not trained on."""
    tokenizer = trained.reader.tokenizer
    replies = [
        tokenizer.decode(by_the_library(trained, trained.student, trained.rows.prompt(n))) for n in range(40, 50)
    ]
    right = [reply.strip() == colour_file(number)[0] for number, reply in enumerate(replies, start=40)]
    assert sum(right) >= 9


def test_adapter_merged_model_and_evaluation_give_the_text_of_generate(trained):
    prompts = [trained.rows.prompt(number) for number in (0, 1, 41)]
    prompts += [[{"role": "user", "content": text}] for text in ("Say red.", "A cat sits on a mat. Say blue.")]
    merged = [by_the_library(trained, trained.student, prompt) for prompt in prompts]
    requests = [
        GenerationRequest(prompt_ids(trained.reader, prompt), 8, prompt[-1].get("pictures", ())) for prompt in prompts
    ]
    generator = BatchedGenerator(
        trained.student,
        CPU,
        trained.reader.end_of_turn,
        trained.reader.tokenizer.pad_token_id,
        picture_inputs=trained.reader.picture_inputs,
    )
    replies = dict(generator.generate(requests))
    assert [replies[row].ids for row in range(len(prompts))] == merged
    adapted = PeftModel.from_pretrained(trained.base.load(torch.float32), trained.folder / "adapter").eval()
    assert by_the_library(trained, adapted, prompts[0]) == merged[0]


def test_student_has_the_files_that_say_how_it_reads_pictures(trained):
    files = {path.name for path in (trained.folder / "model").iterdir()}
    assert set(VISION_FAMILIES[trained.name].files) <= files
    assert trained.student.config.model_type == trained.base.config.model_type


def test_model_card_says_how_pictures_are_shown(trained):
    card = (trained.folder / "model" / "README.md").read_text()
    assert "pipeline_tag: image-text-to-text" in card
    assert 'ask = pipeline("image-text-to-text", model="PATH")' in card
    assert """--chat-template-content-format=openai --limit-mm-per-prompt='{"image":8}'""" in card


def test_evaluation_answers_rows_with_pictures(trained):
    result = evaluate.run(trained.run.config(Stage.EVALUATE), ProgressReporter(Stage.EVALUATE))
    table = result.evaluation
    assert (table.student.score, table.majority.score) == (1.0, 0.5)
    assert table.shallow is None or table.shallow.score == 0.5  # all rows have one text


@pytest.fixture(scope="module")
def client(trained):
    application = StudentApi(ServedModel.load(trained.folder / "model", ("student",), "float32", CPU)).application()
    with TestClient(application) as running:
        yield running


def asking(client, content, **more):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]
    return client.post("/v1/chat/completions", json={"model": "student", "messages": messages, "max_tokens": 8, **more})


@pytest.mark.parametrize("number", [0, 1])
def test_server_gives_the_text_of_generate_for_a_picture(trained, client, number):
    label, content = colour_file(number)
    reply = asking(
        client,
        [
            {"type": "image_url", "image_url": {"url": data_url(content)}},
            {"type": "text", "text": "Which colour?"},
        ],
    ).json()
    assert reply["choices"][0]["message"]["content"].strip() == label
    assert reply["usage"]["prompt_tokens"] == len(prompt_ids(trained.base, trained.rows.prompt(number)))


def test_server_reads_a_text_as_in_training(trained, client):
    prompt = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "A cat sits."}]
    reply = asking(client, [{"type": "text", "text": "A cat "}, {"type": "text", "text": "sits."}]).json()
    ids = by_the_library(trained, trained.student, prompt)
    assert reply["choices"][0]["message"]["content"] == trained.reader.tokenizer.decode(ids, skip_special_tokens=True)
    assert reply["usage"]["prompt_tokens"] == len(prompt_ids(trained.base, prompt))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://example.org/red.png", "messages: a picture has no base64 data; write data:image/png;base64,…"),
        ("data:image/png;base64,AAAA", "messages: a picture is not a picture in PNG, JPEG or WebP"),
    ],
)
def test_server_reads_no_other_picture(client, url, problem):
    response = asking(client, [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Which?"}])
    assert response.status_code == 400
    assert response.json()["error"]["message"] == problem


# --- the check before the teacher is paid


def test_check_finds_that_the_student_reads_pictures(trained):
    assert check(trained.run.config(Stage.GENERATE)).pictures_problem is None


def test_student_whose_processor_is_missing_is_named(trained, tmp_path):
    folder = write_vision_family(tmp_path / "model", trained.name)
    (folder / "preprocessor_config.json").unlink()
    config = replace(trained.run, base=folder).config(Stage.GENERATE)
    problem = check(config).pictures_problem
    assert problem is not None
    assert "copy its preprocessor_config.json again" in problem


def test_template_that_writes_no_pictures_is_named(trained, tmp_path):
    folder = write_vision_family(tmp_path / "model", trained.name)
    (folder / "chat_template.jinja").write_text(
        "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{%- if m.content is string %}{{- m.content }}"
        "{%- else %}{%- for part in m.content %}{{- part.text }}{%- endfor %}{%- endif %}{{- '<|im_end|>\\n' }}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
    )
    problem = check(replace(trained.run, base=folder).config(Stage.GENERATE)).pictures_problem
    assert problem is not None
    assert "its chat template writes 0 marks for 1 pictures; use another model" in problem


def test_language_model_is_not_trained_on_pictures(trained, tmp_path):
    from families import write_family

    folder = write_family(tmp_path / "model", "Llama 3.2")
    rows = [trained.rows.row(number) for number in range(12)]
    run = TrainEvaluateRun(tmp_path, folder, train=rows, validation=rows, task="Classification", labels=list(COLOURS))
    assert check(run.config(Stage.GENERATE)).pictures_problem == "It reads no pictures; use a vision-language model."
    with pytest.raises(UserError, match="it reads no pictures, and the rows have some; use a vision-language model"):
        train.run(run.config(Stage.TRAIN), ProgressReporter(Stage.TRAIN))
