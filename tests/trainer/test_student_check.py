"""A student that cannot be trained is named before the teacher is asked anything."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import transformers

from chat_templates import ALWAYS_THINKS, CHAT_TEMPLATES
from distillery_api.run_config import RunConfig
from distillery_trainer.generation.student_check import check_student
from distillery_trainer.runtime.errors import TryLater, UserError
from distillery_trainer.student.check import check
from generate_run import GenerateRun, gold_of, nli_row, nli_rows
from hub_server import hub_server
from peak_memory import PEAK_MEMORY
from teacher_server import gold_teacher
from tiny_model import write_tiny_model
from train_evaluate_run import TrainEvaluateRun

ROWS = {"train": nli_rows(4), "validation": nli_rows(2, 100), "test": None}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


# --- what breaks a folder


def without(name):
    return lambda folder: (folder / name).unlink()


def emptied(folder):
    for path in folder.iterdir():
        path.unlink()


def with_file(name, content):
    return lambda folder: (folder / name).write_text(content)


def with_template(template):
    return with_file("chat_template.jinja", template)


def with_keys(name, **keys):
    def change(folder):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return change


def cut(name):
    def change(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return change


def several_templates_without_a_default(folder):
    (folder / "chat_template.jinja").unlink()
    (folder / "additional_chat_templates").mkdir()
    for name in ("rag", "tool_use"):
        (folder / "additional_chat_templates" / f"{name}.jinja").write_text(CHAT_TEMPLATES["may think"])


def only_an_adapter(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")


def weights_of_another_format(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def weights_are_incomplete(folder):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def deleted(folder):
    shutil.rmtree(folder)


def a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
NEVER_ENDS = "{% for m in messages %}{{ m.role + m.content }}{% endfor %}"
CHANGES_TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + (messages | length | string) + m.content + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
BROKEN = {
    "no folder": (deleted, "the folder FOLDER does not exist."),
    "a file": (a_file, "this is a file; name its folder."),
    "an empty folder": (emptied, "the folder is empty; copy all files of the model into it."),
    "no configuration": (
        without("config.json"),
        "the folder has no config.json; use a model folder in the Hugging Face format.",
    ),
    "an adapter": (
        only_an_adapter,
        "the folder has an adapter, not a model; merge it into its base model, and name that folder.",
    ),
    "an adapter beside a model": (
        with_file("adapter_config.json", "{}"),
        "the folder has an adapter beside the model; remove adapter_config.json, or merge the adapter into the model.",
    ),
    "configuration is no JSON": (with_file("config.json", "{"), "config.json is not JSON; copy the file again."),
    "configuration is a list": (
        with_file("config.json", "[]"),
        "config.json is not a JSON object; copy the file again.",
    ),
    "no type": (with_file("config.json", "{}"), "config.json has no model_type; copy all files of the model again."),
    "unknown type": (
        with_keys("config.json", model_type="llama9"),
        f"the Transformers library ({transformers.__version__}) knows no model_type 'llama9'; use another model.",
    ),
    "code of its own": (
        with_keys("config.json", model_type="tiny", auto_map={"AutoConfig": "code.Config"}),
        "the model needs program code from its own folder, which is not run; use a model that the Transformers library"
        " knows.",
    ),
    "no generation": (
        with_keys("config.json", model_type="t5", architectures=["T5EncoderModel"]),
        "a model of type T5EncoderModel (t5) does not generate text; use a causal language model.",
    ),
    "a classifier": (
        with_keys("config.json", architectures=["LlamaForSequenceClassification"]),
        "a model of type LlamaForSequenceClassification (llama) does not generate text; use a causal language model.",
    ),
    "quantised": (
        with_keys("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        "the weights are quantised (gptq) and cannot be trained; use the model with its full weights.",
    ),
    "no weights": (
        without("model.safetensors"),
        "the folder has no weights; copy the *.safetensors files next to config.json.",
    ),
    "other weights": (
        weights_of_another_format,
        "the folder has weights only as pytorch_model.bin; convert them to *.safetensors, with"
        " model.save_pretrained(FOLDER).",
    ),
    "half of the weights": (
        weights_are_incomplete,
        "files of the weights are missing (model-00002-of-00002.safetensors); copy all files.",
    ),
    "damaged weights": (
        cut("model.safetensors"),
        "model.safetensors is damaged (Error while deserializing header: incomplete metadata, file not fully covered);"
        " copy the file again.",
    ),
    "weights that were not fetched": (
        with_file("model.safetensors", POINTER),
        "model.safetensors is a Git LFS pointer, not the file; fetch it with git lfs pull.",
    ),
    "no tokenizer": (
        without("tokenizer.json"),
        "the folder has no tokenizer; save one there with tokenizer.save_pretrained(FOLDER).",
    ),
    "a damaged tokenizer": (cut("tokenizer.json"), "the tokenizer cannot be read: "),
    "no chat template": (
        without("chat_template.jinja"),
        "the tokenizer has no chat template; use the instruction-tuned model of the family (its name often ends in"
        " -Instruct or -it), or set chat_template in tokenizer_config.json.",
    ),
    "several templates": (
        several_templates_without_a_default,
        "the tokenizer has several chat templates (rag, tool_use) and none is the default; save one of them as"
        " chat_template.jinja.",
    ),
    "a template that is no Jinja": (
        with_template("{% for %}"),
        "the chat template rejects a chat of user, assistant (Expected an expression, got 'end of statement block');"
        " correct chat_template.jinja, or use another model.",
    ),
    "a template that raises": (
        with_template("{{ raise_exception('Use the tool.') }}"),
        "the chat template rejects a chat of user, assistant (Use the tool); correct chat_template.jinja, or use"
        " another model.",
    ),
    "a template that always thinks": (
        with_template(ALWAYS_THINKS),
        "the chat template always lets the model think before it answers, and the rows have no reasoning; use a model"
        " of the family that answers directly, or set generation.keepReasoning.",
    ),
    "a template without ends": (
        with_template(NEVER_ENDS),
        "the chat template does not end an answer with a special token; correct chat_template.jinja, or use another"
        " model.",
    ),
    "a template that changes turns": (
        with_template(CHANGES_TURNS),
        "the chat template writes a prompt differently before an answer; use another model.",
    ),
    "padding without an embedding": (
        with_keys("config.json", vocab_size=2),
        "the pad_token <|im_end|> has the id 2, but the model has only 2 embeddings; set pad_token in"
        " tokenizer_config.json to a token below that.",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_student_that_cannot_be_trained_is_a_user_error_with_one_sentence(tiny, tmp_path, case):
    break_folder, sentence = BROKEN[case]
    folder = shutil.copytree(tiny, tmp_path / "student")
    break_folder(folder)
    with pytest.raises(UserError) as raised:
        check(TrainEvaluateRun(tmp_path / "run", folder).config("train"))
    assert raised.value.reason == "InvalidModel"
    start = f"student.model.uri: {folder}: {sentence.replace('FOLDER does', f'{folder} does')}"
    assert raised.value.message.startswith(start)
    assert raised.value.message == start or sentence.endswith(": ")
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("case", ["an empty folder", "no chat template", "padding without an embedding", "quantised"])
def test_no_request_is_sent_for_such_a_student(tiny, tmp_path, case):
    break_folder, sentence = BROKEN[case]
    folder = shutil.copytree(tiny, tmp_path / "student")
    break_folder(folder)
    with gold_teacher(gold_of(ROWS["train"], ROWS["validation"])) as teacher:
        run = GenerateRun(tmp_path, teacher.url, **ROWS, config={"student": {"model": {"uri": "student"}}})
        result = run.run()
    assert (result.exit_code, result.reason) == (2, "InvalidModel")
    assert result.message == f"student.model.uri: student: {sentence}"
    assert teacher.requests == []


@pytest.mark.parametrize("family", CHAT_TEMPLATES)
def test_student_of_any_family_passes(tiny, tmp_path, family):
    folder = shutil.copytree(tiny, tmp_path / "student")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATES[family])
    check(TrainEvaluateRun(tmp_path / "run", folder).config("train"))
    check(TrainEvaluateRun(tmp_path / "talk", folder, task="Conversation", labels=()).config("train"))


# --- what a student and the run's other fields exclude


@pytest.mark.parametrize(
    ("template", "fields", "message"),
    [
        (
            "default system message",
            {"generation": {"prompts": {"student": "Say <|im_end|>."}}},
            "generation.prompts.student: The text contains the student's control token <|im_end|>. Remove it.",
        ),
        (
            "default system message",
            {"generation": {"prompts": {"instructions": "Say <|im_end|>."}}},
            "generation.prompts.instructions: The text contains the student's control token <|im_end|>. Remove it.",
        ),
        (
            "default system message",
            {"training": {"maxLength": 16}},
            "training.maxLength: even the shortest row is too long. The row has 19 tokens; training.maxLength allows"
            " 16. Raise it as far as the student allows, or shorten generation.prompts.student.",
        ),
        (
            "empty block in the prompt only",
            {"generation": {"keepReasoning": True}},
            "generation.keepReasoning: the student FOLDER cannot be trained on reasoning, which its chat template drops"
            " or reserves; remove the field, or use another student.",
        ),
    ],
)
def test_field_that_no_row_can_meet_is_named(tiny, tmp_path, template, fields, message):
    folder = shutil.copytree(tiny, tmp_path / "student")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATES[template])
    with pytest.raises(UserError) as raised:
        check(TrainEvaluateRun(tmp_path / "run", folder, **fields).config("train"))
    assert raised.value.message == message.replace("FOLDER", str(folder))


def test_rows_that_are_all_too_long_are_named_before_the_teacher_is_paid(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "student")
    rows = [nli_row(number, "neutral") for number in range(8)]
    for number, row in enumerate(rows):
        row["messages"][0]["content"] += " It rains." * (600 + number)
    with gold_teacher(gold_of(rows)) as teacher:
        config = {"student": {"model": {"uri": "student"}}}
        run = GenerateRun(tmp_path, teacher.url, train=rows[:6], validation=rows[6:], test=None, config=config)
        result = run.run()
    assert (result.exit_code, result.reason) == (2, "InvalidSpec")
    assert result.message == (
        "student.model.uri: even the shortest row is too long. The row has 1,866 tokens; the student allows 512."
        " Shorten the rows, or use a student with a longer context."
    )
    assert teacher.requests == []


# --- students on the Hub, and students that cannot be read here


def run_of_hub_student(tmp_path, url="http://127.0.0.1:9"):
    return GenerateRun(tmp_path, url, **ROWS, config={"student": {"model": {"uri": "hf://org/small"}}})


def stage(tmp_path, **environment):
    """The generate stage for a student on the Hub, and how often the teacher was asked."""
    with gold_teacher(gold_of(ROWS["train"], ROWS["validation"])) as teacher:
        run = run_of_hub_student(tmp_path, teacher.url)
        process = run.start(HF_HOME=str(tmp_path / "cache"), **environment)
        said = process.communicate(timeout=120)[1]
    return run.result, said, len(teacher.requests)


def checked(tmp_path, **environment):
    """The check alone: exit code and message."""
    variables = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache"), **environment}
    command = [sys.executable, "-m", "distillery_trainer.student.check"]
    config = run_of_hub_student(tmp_path).config_file.read_text()
    ended = subprocess.run(command, check=False, input=config, capture_output=True, text=True, env=variables)
    return ended.returncode, json.loads(ended.stdout)["message"]


def test_description_of_a_student_on_the_hub_is_read_with_its_own_credentials(tiny, tmp_path):
    with hub_server(tiny) as hub:
        hub.listed = ("model.safetensors",)
        credentials = {"HF_TOKEN": "hf_rows", "DISTILLERY_STUDENT_HF_TOKEN": "hf_student"}
        result, said, requests = stage(tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0", **credentials)
    assert (result.exit_code, requests) == (0, 6), said
    assert "not checked" not in said
    assert set(hub.tokens) == {"Bearer hf_student"}
    assert not [request for request in hub.requests if request.endswith(".safetensors")]


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (
            {"refusal": (404, "RepoNotFound")},
            "no such model, or a private one; correct the name, or set student.credentials to a Secret with HF_TOKEN.",
        ),
        (
            {"refusal": (404, "RevisionNotFound")},
            "the revision does not exist; correct the part after the @.",
        ),
        (
            {"listed": ("model.safetensors",), "gated": True},
            "the model is gated; accept its licence, and set student.credentials to a Secret with HF_TOKEN.",
        ),
        (
            {"refusal": (403, "")},
            "the Hub refuses access (HTTP 403); set student.credentials to a Secret whose HF_TOKEN may read the model.",
        ),
        (
            {"listed": ("model-Q4.gguf",)},
            "the folder has weights only as model-Q4.gguf; convert them to *.safetensors, with"
            " model.save_pretrained(FOLDER).",
        ),
    ],
)
def test_student_that_the_hub_does_not_give_is_a_user_error(tiny, tmp_path, behaviour, message):
    with hub_server(tiny) as hub:
        for name, value in behaviour.items():
            setattr(hub, name, value)
        assert checked(tmp_path, HF_ENDPOINT=hub.url) == (2, f"student.model.uri: hf://org/small: {message}")


@pytest.mark.parametrize("name", ["org/name--x", "-org/name", "org/na..me", "org/name.git"])
@pytest.mark.parametrize("offline", ["0", "1"])
def test_name_that_the_hub_refuses_is_no_request_and_a_sentence(tmp_path, monkeypatch, name, offline):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline == "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    run = GenerateRun(tmp_path, "http://127.0.0.1:9", **ROWS, config={"student": {"model": {"uri": f"hf://{name}"}}})
    with pytest.raises(UserError) as raised:
        check_student(RunConfig.read(run.config_file))
    assert raised.value.reason == "InvalidModel"
    assert raised.value.message == (
        f"student.model.uri: hf://{name}: this is not a name on the Hub; use hf://ORG/NAME or hf://ORG/NAME@REVISION."
    )


def test_student_is_checked_whatever_the_encoding_of_the_machine(tmp_path):
    generation = {"prompts": {"student": "Antworte auf Französisch: 中立"}}
    run = GenerateRun(tmp_path, "http://127.0.0.1:9", **ROWS, generation=generation)
    run.config = {"student": {"model": {"uri": "empty"}}}
    (tmp_path / "empty").mkdir()
    said = run.start(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0").communicate(timeout=120)[1]
    assert (run.result.exit_code, run.result.message) == (
        2,
        "student.model.uri: empty: the folder is empty; copy all files of the model into it.",
    ), said


@pytest.mark.parametrize("name", ["pvc://models/small", "small"])
def test_local_student_that_is_not_read_in_time_is_read_again_by_a_later_attempt(tmp_path, monkeypatch, name):
    monkeypatch.setattr("distillery_trainer.generation.student_check._unavailable", lambda config: None)
    monkeypatch.setattr("distillery_trainer.generation.student_check._TIMEOUT_SECONDS", 0.01)
    run = GenerateRun(tmp_path, "http://127.0.0.1:9", **ROWS, config={"student": {"model": {"uri": name}}})
    with pytest.raises(TryLater) as raised:
        check_student(RunConfig.read(run.config_file))
    assert raised.value.message == (
        f"student.model.uri: {name}: it could not be read within 0.01 seconds; use another model, a faster volume, or a"
        " machine that is less busy."
    )


def test_hub_that_cannot_be_reached_says_nothing_of_the_student(tmp_path):
    code, message = checked(tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert code == 3
    assert message.startswith("student.model.uri: hf://org/small: the Hub cannot be reached (")


def test_run_continues_where_the_student_cannot_be_read(tmp_path):
    result, said, requests = stage(tmp_path, HF_HUB_OFFLINE="1")
    assert (result.exit_code, requests) == (0, 6)
    problem = "hf://org/small is not on this machine, and HF_HUB_OFFLINE is set."
    assert f"The student is not checked before the teacher is asked: {problem}\n" in said


def test_run_continues_where_the_student_is_not_mounted(tmp_path, capsys):
    with gold_teacher(gold_of(ROWS["train"], ROWS["validation"])) as teacher:
        run = GenerateRun(tmp_path, teacher.url, **ROWS, config={"student": {"model": {"uri": "pvc://models/small"}}})
        assert run.run().exit_code == 0
    assert "pvc://models is not mounted (mounted: nothing)." in capsys.readouterr().err


def test_check_leaves_room_in_a_gibibyte(tiny, tmp_path):
    program = f"""{PEAK_MEMORY}
import sys
from distillery_trainer.student.check import main
exit_code = main()
print(peak_memory(), file=sys.stderr)
sys.exit(exit_code)
"""
    config = TrainEvaluateRun(tmp_path, tiny).config("train").model_dump_json(by_alias=True)
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, input=config, capture_output=True, text=True, env=os.environ
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stderr.split()[-1]) < 800
