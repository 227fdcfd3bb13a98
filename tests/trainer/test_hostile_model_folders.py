"""Model folders from somebody who means harm: the process stays small, runs none of their code, and says why not."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peak_memory import PEAK_MEMORY
from tiny_model import write_tiny_model

PROGRAM = f"""{PEAK_MEMORY}
import json, os, signal, sys
from pathlib import Path
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.library_settings import quiet_libraries
from distillery_trainer.student.model_folder import open_folder
from transformers import LlamaForCausalLM

quiet_libraries()
for line in sys.stdin:
    if os.fork():
        os.wait()
        continue
    signal.alarm(60)
    os.chdir(Path(line.strip()).parent)
    try:
        open_folder(Path(line.strip()), "student").load("auto")
        message = "loaded"
    except UserError as error:
        message = error.message
    print(json.dumps([message, peak_memory()]), flush=True)
    os._exit(0)
"""
ENDLESS = b"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
DOUBLING = b"{% set ns = namespace(x='a') %}{% for i in range(35) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}"
SENTENCE = "student.model.uri: student: "
GIBIBYTE = 1024**3


@dataclass(frozen=True)
class Opener:
    """A process that has loaded the libraries, and opens each folder in a copy of itself."""

    process: subprocess.Popen[str]

    def open(self, folder: Path) -> tuple[str, int]:
        """What is said of the folder, and the peak of memory in MiB."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        message, peak = json.loads(self.process.stdout.readline())
        return message, peak


@pytest.fixture(scope="module")
def opener() -> Iterator[Opener]:
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Opener(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model", vocab_size=49152)


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    copy.mkdir()
    for file in tiny.iterdir():
        os.link(file, copy / file.name)
    return copy


def replace(folder: Path, name: str, content: bytes = b"", size: int | None = None) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_bytes(content)
    if size is not None:
        os.truncate(folder / name, size)


def change_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_bytes())
        replace(folder, "config.json", json.dumps({**config, **changes}).encode())

    return change


def write(name: str, content: bytes = b"", size: int | None = None) -> Callable[[Path], None]:
    return lambda folder: replace(folder, name, content, size)


def weights(header: dict[str, Any], size: int) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * size


class Harm:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch harmed",)


def only_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harm()))


def pipe_for_config(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    os.mkfifo(folder / "generation_config.json")


CODE = b"import pathlib\npathlib.Path('harmed').touch()\n"


def own_code(folder: Path, file: str, **fields: Any) -> None:
    (folder / "code.py").write_bytes(CODE)
    stated = json.loads((folder / file).read_bytes())
    replace(folder, file, json.dumps({**stated, **fields}).encode())


def own_model(folder: Path) -> None:
    own_code(folder, "config.json", model_type="own", auto_map={"AutoConfig": "code.Config"})


def own_tokenizer(folder: Path) -> None:
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["code.Own", None]}}
    own_code(folder, "tokenizer_config.json", **own)


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (write("config.json", size=GIBIBYTE), "config.json has more than the 4 MiB of any known model"),
        (write("generation_config.json", size=GIBIBYTE), "generation_config.json has more than the 4 MiB"),
        (write("tokenizer_config.json", size=GIBIBYTE), "tokenizer_config.json has more than the 4 MiB"),
        (write("chat_template.jinja", size=GIBIBYTE), "chat_template.jinja has more than the 4 MiB"),
        (write("tokenizer.json", size=4 * GIBIBYTE), "tokenizer.json has more than the 48 MiB"),
        (write("model.safetensors.index.json", size=GIBIBYTE), "model.safetensors.index.json has more than the 48 MiB"),
        (write("config.json", b"{"), "config.json is not JSON"),
        (write("config.json", b"\xff\xfe\x00"), "config.json is not JSON"),
        (write("config.json", b"[" * 1_000_000), "config.json is not JSON"),
        (write("config.json", b"[]"), "config.json is not a JSON object"),
        (write("tokenizer.json", b"{"), "the tokenizer cannot be read"),
        (write("tokenizer.json", b"[" * 1_000_000), "the tokenizer cannot be read"),
        (write("tokenizer_config.json", b"[1]"), "the tokenizer cannot be read"),
        (
            write("chat_template.jinja", ENDLESS),
            "the chat template takes longer than 10 seconds; use another model.",
        ),
        (
            write("chat_template.jinja", b"{% if add_generation_prompt %}" + ENDLESS + b"{% endif %}"),
            "the chat template takes longer than 10 seconds; use another model.",
        ),
        (
            write("chat_template.jinja", b"{% if messages[0].role == 'system' %}" + ENDLESS + b"{% endif %}"),
            "the chat template takes longer than 10 seconds; use another model.",
        ),
        (
            write("chat_template.jinja", b"{{ 'a' * 10000000000 }}"),
            "the chat template takes more than 256 MiB of memory; use another model.",
        ),
        (
            write("chat_template.jinja", DOUBLING),
            "the chat template takes more than 256 MiB of memory; use another model.",
        ),
        (write("chat_template.jinja", b"{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}"), "the chat template rejects"),
        (write("chat_template.jinja", b"{{ ().__class__.__base__.__subclasses__() }}"), "the chat template rejects"),
        (change_config(num_hidden_layers=10**9), "config.json states num_hidden_layers: 1e+09, more than any known"),
        (change_config(num_hidden_layers=1_000), "config.json states 1,000 layers, but the weights have"),
        (change_config(num_hidden_layers="many"), "config.json is not valid"),
        (change_config(hidden_size=10**12), "config.json states hidden_size: 1e+12, more than any known model"),
        (change_config(vocab_size=10**9), "config.json states vocab_size: 1,000,000,000, but the weights have"),
        (change_config(head_dim=10**9), "config.json states head_dim: 1,000,000,000, but the weights have"),
        (change_config(hidden_size=128), "the model cannot be loaded"),
        (change_config(vocab_size=-1), "student.model.uri"),
        (change_config(model_type="\x1b[2J" + "x" * 100_000), "knows no model_type"),
        (own_model, "the model needs program code from its own folder, which is not run"),
        (own_tokenizer, "the tokenizer cannot be read"),
        (only_pickled_weights, "the folder has weights only as pytorch_model.bin; convert them to *.safetensors"),
        (pipe_for_config, "generation_config.json is a pipe or a device"),
        (write("model.safetensors", b""), "model.safetensors is damaged"),
        (write("model.safetensors", struct.pack("<Q", 2**62)), "its header is too long"),
        (write("model.safetensors", struct.pack("<Q", 10**6) + b"{}"), "model.safetensors is damaged"),
        (write("model.safetensors", struct.pack("<Q", 10) + b'{"a":{"b":', size=10**6), "model.safetensors is damaged"),
        (
            write("model.safetensors", weights({"a": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4]}}, 4)),
            "model.safetensors is damaged",
        ),
        (
            write("model.safetensors", weights({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 10**12]}}, 4)),
            "model.safetensors is damaged",
        ),
        (
            write(
                "model.safetensors",
                weights({"a": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}}, 0),
                size=2**40 + 8 + len(json.dumps({"a": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}})),
            ),
            "but the weights have 1 tensors",
        ),
        (
            write("model.safetensors.index.json", b'{"weight_map": {"a": "../../secret.safetensors"}}'),
            "files of the weights are missing (../../secret.safetensors)",
        ),
        (
            write("model.safetensors.index.json", b'{"weight_map": {"a": "/etc/passwd"}}'),
            "files of the weights are missing (/etc/passwd)",
        ),
        (write("model.safetensors.index.json", b'{"weight_map": {"a": 5}}'), "model.safetensors.index.json is damaged"),
    ],
)
def test_a_hostile_folder_ends_in_a_sentence_within_a_gibibyte(
    opener: Opener, folder: Path, tmp_path: Path, harm: Callable[[Path], None], sentence: str
) -> None:
    harm(folder)
    message, peak = opener.open(folder)
    assert message.startswith(SENTENCE)
    assert sentence in message
    assert len(message.encode()) < 1_200
    assert message.isprintable()
    assert peak < 800
    assert not (tmp_path / "harmed").exists()


def test_pickled_weights_beside_others_are_not_read(opener: Opener, folder: Path, tmp_path: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harm()))
    assert opener.open(folder)[0] == "loaded"
    assert not (tmp_path / "harmed").exists()


def test_code_beside_a_known_model_is_not_run(opener: Opener, folder: Path, tmp_path: Path) -> None:
    own_code(folder, "config.json", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"})
    assert opener.open(folder)[0] == "loaded"
    assert not (tmp_path / "harmed").exists()
