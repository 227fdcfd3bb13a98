from __future__ import annotations

import subprocess
from pathlib import Path

from distillery_trainer.student.model_digest import model_digest, write_sums


def test_a_models_digest_is_what_sha256sum_says(tmp_path: Path) -> None:
    for name, text in (("config.json", "{}"), ("model.safetensors", "weights"), ("Readme.md", "")):
        (tmp_path / name).write_text(text)
    command = "LC_ALL=C; sha256sum * | sha256sum"
    printed = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert model_digest(tmp_path) == "sha256:" + printed.stdout.split()[0]


def test_the_sums_check_the_model_and_not_what_describes_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("weights")
    before = model_digest(tmp_path)
    (tmp_path / "README.md").write_text("A card.")
    assert write_sums(tmp_path) == before
    (tmp_path / "README.md").write_text("Another card.")
    assert model_digest(tmp_path) == before
    check = ["sha256sum", "--check", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    printed = subprocess.run(["sha256sum", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert before == "sha256:" + printed.stdout.split()[0]
    (tmp_path / "model.safetensors").write_text("other weights")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_another_weight_or_name_is_another_model(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = model_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = model_digest(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, renamed, model_digest(tmp_path)}) == 3
