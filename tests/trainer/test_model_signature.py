"""The signature of a published student: made by the publish stage, and verified by the command of OpenSSF model signing
as a user does who has the public key."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult
from distillery_trainer.student.model_digest import write_sums
from registry_server import registry_server
from train_evaluate_run import TrainEvaluateRun

pytest.importorskip("model_signing")

HASH = "train-0123456789"
KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key, password=None) -> str:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()


def publish(workspace: Path, key: str, registry: str | None = None) -> StageResult:
    run = TrainEvaluateRun(workspace, workspace / "base")
    model = run.folder(Stage.TRAIN) / "model"
    model.mkdir(parents=True, exist_ok=True)
    files = {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"# A student\n"}
    for name, content in files.items():
        (model / name).write_bytes(content)
    write_sums(model)
    config = json.loads(run.config(Stage.EVALUATE).model_dump_json(by_alias=True))
    signing = {"signingKey": {"secretName": "signing"}}
    image = {"modelImage": {"repository": f"{registry}/team/student", "plainHTTP": True}} if registry else {}
    path = workspace / "publish.json"
    path.write_text(json.dumps({**config, "stage": "publish", "folder": "publish-abcdefgh", **signing, **image}))
    command = [sys.executable, "-m", "distillery_trainer", "publish", "--config", str(path)]
    environment = {**os.environ, "DISTILLERY_SIGNING_KEY": key}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in process.stderr, process.stderr
    assert "PRIVATE" not in process.stderr
    return StageResult.model_validate_json((workspace / "publish-abcdefgh/result.json").read_bytes())


def verified(folder: Path, signature: Path, *options: str) -> tuple[int, str]:
    """What `model_signing verify` says to who has the public key."""
    public = folder.parent / "public.pem"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(KEY.public_key().public_bytes(serialization.Encoding.PEM, form))
    command = ["-m", "model_signing", "verify", "key", str(folder), "--signature", str(signature)]
    command = [sys.executable, *command, "--public_key", str(public), *options]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return process.returncode, process.stdout + process.stderr


def test_the_signature_holds_in_the_workspace_and_wherever_the_student_is_published(tmp_path):
    result = publish(tmp_path, pem(KEY))
    train = tmp_path / HASH
    assert (result.reason, result.files) == (Reason.SUCCEEDED, {"signature": f"{HASH}/model.sig"})
    assert verified(train / "model", train / "model.sig")[0] == 0
    published = tmp_path / "download"
    published.mkdir()
    for path in (*(train / "model").iterdir(), train / "model.sig"):
        (published / path.name).symlink_to(path)
    (published / "README.md").unlink()
    (published / "README.md").write_text("# A student with scores\n")
    (published / "student-prompt.txt").write_text("Judge.")
    (published / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    assert verified(published, published / "model.sig", "--allow_symlinks")[0] == 0


def test_a_file_that_was_changed_or_added_is_named(tmp_path):
    publish(tmp_path, pem(KEY))
    model, signature = tmp_path / HASH / "model", tmp_path / HASH / "model.sig"
    (model / "model.safetensors").write_bytes(b"other")
    code, said = verified(model, signature)
    assert code == 1
    assert "Hash mismatch" in said
    assert "model.safetensors" in said
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "chat_template.jinja").write_text("{{ evil }}")
    assert "chat_template.jinja" in verified(model, signature)[1]


def test_the_same_student_keeps_its_signature_and_so_its_image(tmp_path):
    with registry_server() as registry:
        first = publish(tmp_path, pem(KEY), registry.host)
        second = publish(tmp_path, pem(KEY), registry.host)
        (tag,) = registry.tags
        signature = registry.content(tag, "models/model.sig")
        other = publish(tmp_path, pem(ec.generate_private_key(ec.SECP384R1())), registry.host)
    assert first.model_image == second.model_image != other.model_image
    assert json.loads(signature)["mediaType"].startswith("application/vnd.dev.sigstore.bundle")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "this is no private key in PEM"),
        ("-----BEGIN CERTIFICATE-----", "this is no private key in PEM"),
        (pem(KEY, b"secret"), "the key is encrypted; store it without a password"),
        (pem(rsa.generate_private_key(65537, 2048)), "the key is not one of the curves P-256, P-384 and P-521"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "the key is not one of the curves P-256, P-384 and P-521"),
    ],
)
def test_a_key_that_cannot_sign_is_a_sentence(tmp_path, key, why):
    result = publish(tmp_path, key)
    assert (result.exit_code, result.reason) == (2, Reason.PUBLISH_FAILED)
    assert result.message == (
        f"publication.signingKey: the student cannot be signed: {why} (Secret signing, key private-key)."
    )
