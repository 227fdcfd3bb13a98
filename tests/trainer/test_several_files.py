"""A source of several files: folders, patterns and lists of locations, on this machine and on servers."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from distillery_api.run_config import RunConfig
from distillery_api.runtime.source_files import find_files
from distillery_trainer.data.row_reader import check_rows, read_valid_rows
from distillery_trainer.data.rows import Row
from distillery_trainer.data.sources import Source, sources
from distillery_trainer.runtime.errors import UserError
from file_server import file_server
from generate_run import GenerateRun

FILES = {
    "a/part-10.jsonl": b'{"prompt": "ten"}\n',
    "a/part-2.csv": b"prompt,completion\ntwo,\nand two,\n",
    "a/deep/more.json": b'[{"prompt": "more"}]',
    "a/README.md": b"About the rows",
    "a/_SUCCESS": b"",
    "a/.cache/old.jsonl": b'{"prompt": "old"}\n',
    "b.jsonl": b'{"prompt": "b", "id": "mine"}\n',
    "b[1].jsonl": b'{"prompt": "b1"}\n',
}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "rows" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "rows"


def sources_of(folder: Path, *uris: str, **config: object) -> list[Source]:
    read = RunConfig.read(GenerateRun(folder.parent, "http://127.0.0.1:9/v1").config_file)
    train = read.data.train.model_copy(update={"uri": None, "uris": uris})
    data = read.data.model_copy(update={"train": train, "validation": None, "validation_fraction": 0.5, "test": None})
    return sources(read.model_copy(update={"data": data, "base_path": str(folder), **config}))


def names_of(folder: Path, *uris: str, **config: object) -> list[str]:
    return [each.uri for each in sources_of(folder, *uris, **config)]


@pytest.mark.parametrize(
    ("uris", "files"),
    [
        (["a"], ["a/deep/more.json", "a/part-10.jsonl", "a/part-2.csv"]),
        (["a/"], ["a/deep/more.json", "a/part-10.jsonl", "a/part-2.csv"]),
        (["a/part-*"], ["a/part-10.jsonl", "a/part-2.csv"]),
        (["a/part-??.jsonl"], ["a/part-10.jsonl"]),
        (["a/part-[0-2].csv"], ["a/part-2.csv"]),
        (["**/*.jsonl"], ["a/part-10.jsonl", "b.jsonl", "b[1].jsonl"]),
        (["*.jsonl"], ["b.jsonl", "b[1].jsonl"]),
        (["b[1].jsonl"], ["b[1].jsonl"]),
        (["b.jsonl", "a/part-2.csv"], ["b.jsonl", "a/part-2.csv"]),
        (["b.jsonl", "*.jsonl"], ["b.jsonl", "b[1].jsonl"]),
    ],
)
def test_location_stands_for_its_files_in_order(folder, uris, files):
    assert names_of(folder, *uris) == files


def test_absolute_path_and_claim_name_their_files_as_the_manifest_would(folder):
    assert names_of(folder, f"file://{folder}/b*.jsonl") == [f"file://{folder}/b.jsonl", f"file://{folder}/b[1].jsonl"]
    mounts = {"pvc://data": str(folder), "configmap://rows": str(folder / "a")}
    assert names_of(folder, "pvc://data/a/part-*.csv", mounts=mounts) == ["pvc://data/a/part-2.csv"]
    assert names_of(folder, "pvc://data/a", mounts=mounts)[0] == "pvc://data/a/deep/more.json"
    assert "pvc://data/b.jsonl" in names_of(folder, "pvc://data/", mounts=mounts)


def test_configmap_stands_for_all_of_its_keys(tmp_path):
    mount = tmp_path / "mount"
    (mount / "..2026_11").mkdir(parents=True)
    (mount / "..data").symlink_to("..2026_11")
    for key in ("first", "second.jsonl"):
        (mount / "..2026_11" / key).write_bytes(b'{"prompt": "a"}\n')
        (mount / key).symlink_to(f"..data/{key}")
    found = names_of(tmp_path, "configmap://rows/", mounts={"configmap://rows": str(mount)})
    assert found == ["configmap://rows/first", "configmap://rows/second.jsonl"]


def test_folder_whose_name_looks_like_a_pattern_is_that_folder(tmp_path):
    (tmp_path / "data[1]").mkdir()
    (tmp_path / "data[1]" / "x.csv").touch()
    assert find_files(f"{tmp_path}/data[1]/", "*.csv") == ["x.csv"]
    assert find_files(f"{tmp_path}/", "data[1]") == ["data[1]/x.csv"]


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("a/*.parquet", "data.train: a/*.parquet: no file matches; check the pattern."),
        ("a/.cache", None),
        ("empty", "data.train: empty: the folder holds no file of rows; their names end with .jsonl, .ndjson, .json,"
         " .csv, .tsv, .parquet, also compressed."),
    ],
)  # fmt: skip
def test_location_without_files_is_an_error(folder, uri, problem):
    (folder / "empty").mkdir()
    (folder / "empty" / "README.md").touch()
    if problem is None:
        assert names_of(folder, uri) == ["a/.cache/old.jsonl"]
        return
    with pytest.raises(UserError) as error:
        names_of(folder, uri)
    assert error.value.message == problem


def test_file_of_a_folder_must_not_lead_out_of_its_claim(folder, tmp_path):
    (tmp_path / "secret.jsonl").write_bytes(b"{}")
    os.symlink(tmp_path / "secret.jsonl", folder / "a" / "zz.jsonl")
    with pytest.raises(UserError) as error:
        names_of(folder, "pvc://data/a", mounts={"pvc://data": str(folder)})
    assert error.value.message == "data.train: pvc://data/a/zz.jsonl: the path leads out of pvc://data."


def test_rows_of_all_files_are_joined_and_have_ids_of_their_own(folder):
    found = sources_of(folder, "a", "b.jsonl")
    check = check_rows(found, lambda _: None)
    rows = [row for source in found for row in read_valid_rows(source) if isinstance(row, Row)]
    assert check.rows == {"train": 5}
    assert [(row.id, row.text) for row in rows] == [
        ("train-1-1", "more"),
        ("train-2-1", "ten"),
        ("train-3-2", "two"),
        ("train-3-3", "and two"),
        ("mine", "b"),
    ]


def test_problems_name_the_file(folder):
    (folder / "b[1].jsonl").write_bytes(b'{"prompt": ""}\n')
    (folder / "c.jsonl").write_bytes(b'\n{"prompt": "c", "id": "mine"}\n')
    with pytest.raises(UserError) as error:
        check_rows(sources_of(folder, "*.jsonl"), lambda _: None)
    assert error.value.message.splitlines()[1:] == [
        '  b[1].jsonl, line 1: "prompt" is an empty string',
        '  c.jsonl, line 2: the id "mine" is already that of line 1 of b.jsonl',
    ]


def test_empty_file_beside_others_is_no_error_and_only_empty_ones_are(folder):
    (folder / "b.jsonl").write_bytes(b"")
    assert check_rows(sources_of(folder, "b*.jsonl"), lambda _: None).rows == {"train": 1}
    (folder / "b[1].jsonl").write_bytes(b"\n")
    with pytest.raises(UserError, match=r"data\.train: b\.jsonl and 1 more contains no rows\."):
        check_rows(sources_of(folder, "b*.jsonl"), lambda _: None)


# --- on a server


@pytest.fixture
def bucket(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with file_server() as server:
        server.files = {f"/bucket/logs/{name}": content for name, content in FILES.items()}
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        yield server


@pytest.mark.parametrize(
    ("uri", "files"),
    [
        ("s3://bucket/logs/a/", ["a/deep/more.json", "a/part-10.jsonl", "a/part-2.csv"]),
        ("s3://bucket/logs/a", ["a/deep/more.json", "a/part-10.jsonl", "a/part-2.csv"]),
        ("s3://bucket/logs/a/part-*", ["a/part-10.jsonl", "a/part-2.csv"]),
        ("s3://bucket/logs/b[1].jsonl", ["b[1].jsonl"]),
        ("s3://bucket/logs/b.jsonl", ["b.jsonl"]),
    ],
)
def test_folder_and_pattern_of_a_bucket_stand_for_their_files(bucket, folder, uri, files):
    assert names_of(folder, uri) == [f"s3://bucket/logs/{name}" for name in files]


def test_rows_of_several_objects_are_downloaded_and_read(bucket, folder):
    found = sources_of(folder, "s3://bucket/logs/a/part-*", "b.jsonl")
    for _ in range(2):
        rows = [row for source in found for row in read_valid_rows(source)]
        assert [row.text for row in rows] == ["ten", "two", "and two", "b"]
    assert bucket.requests.count("GET /bucket/logs/a/part-2.csv") == 1


def test_folder_pattern_and_whole_data_set_on_the_hub_stand_for_their_files(folder, monkeypatch):
    about = {"id": "org/name", "sha": "abc", "private": False, "downloads": 0, "likes": 0, "tags": [], "siblings": []}
    paths = ["README.md", "data/b.jsonl", "data/a.jsonl"]
    files = [{"type": "file", "oid": "2", "size": 10, "path": path} for path in paths]
    tree = [{"type": "directory", "oid": "1", "size": 0, "path": "data"}, *files]
    with file_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.files = {
            "/api/datasets/org/name": orjson.dumps(about),
            "/api/datasets/org/name/tree/main": orjson.dumps(tree),
            "/api/datasets/org/name/tree/main/data": orjson.dumps(files[1:]),
        }
        listing = (
            "import sys; from distillery_trainer.data.remote_listing import list_files;"
            " [print(name) for uri in sys.argv[1:] for name in list_files(uri, 'x')]"
        )
        uris = ("hf://datasets/org/name/data", "hf://datasets/org/name/data/*.jsonl", "hf://datasets/org/name")
        environment = os.environ | {"HF_HUB_OFFLINE": "0"}
        # The library reads its settings when it is imported, so it is imported anew.
        command = [sys.executable, "-c", listing, *uris]
        listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    both = ["hf://datasets/org/name/data/a.jsonl", "hf://datasets/org/name/data/b.jsonl"]
    assert (listed.stdout.splitlines(), listed.stderr) == (both * 3, "")


def test_bucket_without_a_match_is_an_error(bucket, folder):
    with pytest.raises(UserError) as error:
        names_of(folder, "s3://bucket/logs/*.parquet")
    assert error.value.message == "data.train: s3://bucket/logs/*.parquet: no file matches; check the pattern."
