"""Layers and images: the same bytes for the same files, whatever else differs on the disk."""

import io
import os
import tarfile
from itertools import islice
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_trainer.registry import layers as layers_module
from distillery_trainer.registry.image import image_of
from distillery_trainer.registry.layers import FileChanged, Layer, LayerFile, files_below, layers_of

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0.", exclude_categories=["Cs"]), min_size=1, max_size=60
)
TREES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=2000), max_size=6
).filter(lambda tree: not any(one != other and other.startswith(f"{one}/") for one in tree for other in tree))


def written(folder: Path, tree: dict[str, bytes]) -> Path:
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def layer_of(folder: Path) -> Layer:
    return Layer(tuple(sorted(files_below(folder, PurePosixPath("models")), key=lambda each: each.path.as_posix())))


@settings(max_examples=40, deadline=None)
@given(tree=TREES)
def test_a_layer_holds_every_file_and_is_as_long_as_it_says(tmp_path_factory, tree):
    layer = layer_of(written(tmp_path_factory.mktemp("tree"), tree))
    content = b"".join(layer)
    assert len(content) == layer.size
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = archive.getmembers()
        found = {each.name: archive.extractfile(each).read() for each in members if each.isfile()}
    assert found == {f"models/{name}": content for name, content in tree.items()}
    assert {(each.mode, each.uid, each.gid, each.mtime, each.uname) for each in members if each.isfile()} <= {
        (0o644, 0, 0, 0, "")
    }
    assert {each.mode for each in members if each.isdir()} <= {0o755}


def test_owner_mode_time_and_order_of_creation_change_nothing(tmp_path):
    one = written(tmp_path / "one", {"config.json": b"{}", "sub/b": b"b", "sub/a": b"a"})
    other = written(tmp_path / "other", {"sub/a": b"a", "sub/b": b"b", "config.json": b"{}"})
    (other / "sub/a").chmod(0o700)
    os.utime(other / "config.json", (0, 1_700_000_000))
    assert layer_of(one).digest == layer_of(other).digest
    (other / "sub/a").write_bytes(b"A")
    assert layer_of(one).digest != layer_of(other).digest


def test_the_digest_of_a_known_tree(tmp_path):
    """Another release that makes other bytes of the same files would push every model again."""
    written(tmp_path, {"config.json": b"{}\n", "model.safetensors": b"weights"})
    image = image_of([layer_of(tmp_path)], {"org.opencontainers.image.title": "conjnli"})
    assert image.layers[0].digest == "sha256:b4de51770548f5d07d6fab70273c9af52d418ceb94edc6858449d0732fca08d8"
    assert image.digest == "sha256:e6ab2bb370e2c0a23b7ff1162551af758ecd4723dca4ec38f9a8ceaaf3e7d3fa"


def test_large_files_have_layers_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(layers_module, "LARGE_FILE_BYTES", 100)
    tree = {"config.json": b"{}", "z-1.safetensors": bytes(100), "a-2.safetensors": bytes(200), "tokenizer.json": b"[]"}
    found = layers_of(files_below(written(tmp_path, tree), PurePosixPath("models")))
    assert [[each.path.name for each in layer.files] for layer in found] == [
        ["config.json", "tokenizer.json"],
        ["a-2.safetensors"],
        ["z-1.safetensors"],
    ]


def test_a_file_of_more_than_eight_gibibytes_has_a_header(tmp_path):
    """The field of the oldest format has room for 8 GiB less one byte."""
    layer = Layer((LayerFile(PurePosixPath("models/model.safetensors"), tmp_path / "model", 9 * 1024**3),))
    header = b"".join(islice(layer, 2))
    assert b"size=9663676416" in header


def test_a_file_that_becomes_shorter_is_no_layer(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"short")
    with pytest.raises(FileChanged, match="became shorter"):
        b"".join(Layer((LayerFile(PurePosixPath("model"), path, 6),)))


def test_hidden_files_stay_behind(tmp_path):
    written(tmp_path, {".cache/x": b"x", ".lock": b"", "config.json": b"{}"})
    assert [each.path.name for each in files_below(tmp_path, PurePosixPath("models"))] == ["config.json"]
