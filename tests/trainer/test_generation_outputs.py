"""The files of the generate stage: in the order of the input, complete or not at all."""

from hypothesis import given
from hypothesis import strategies as st

from distillery_api.paths import Artefact, StageFolder, Workspace
from distillery_trainer.generation import outputs as outputs_module
from distillery_trainer.generation.outputs import Outputs


@given(st.permutations(range(12)))
def test_rows_go_out_in_the_order_of_the_input(tmp_path_factory, order):
    root = tmp_path_factory.mktemp("workspace")
    outputs = Outputs(StageFolder(root / "generate-a"), Workspace(root))
    for index in order:
        outputs.put(index, Artefact.REJECTED if index % 3 == 0 else Artefact.TRAIN, f"{index}\n".encode())
    outputs.publish("prompt")
    assert (root / "generate-a" / "train.jsonl").read_text().split() == ["1", "2", "4", "5", "7", "8", "10", "11"]
    assert (root / "generate-a" / "rejected.jsonl").read_text().split() == ["0", "3", "6", "9"]


def test_published_early_has_the_finished_rows_and_gaps(tmp_path):
    outputs = Outputs(StageFolder(tmp_path / "generate-a"), Workspace(tmp_path))
    for index in (0, 5, 3):
        outputs.put(index, Artefact.TRAIN, f"{index}\n".encode())
    outputs.publish("prompt")
    assert (tmp_path / "generate-a" / "train.jsonl").read_text().split() == ["0", "3", "5"]


def test_full_until_the_earliest_row_is_written(tmp_path):
    outputs = Outputs(StageFolder(tmp_path / "generate-a"), Workspace(tmp_path))
    outputs.put(1, Artefact.TRAIN, b"a" * outputs_module.WAITING_LIMIT)
    assert not outputs.is_full
    outputs.put(2, Artefact.TRAIN, b"a")
    assert outputs.is_full
    outputs.put(0, Artefact.TRAIN, b"a")
    assert not outputs.is_full
    outputs.discard()


def test_dropped_outputs_leave_nothing(tmp_path):
    outputs = Outputs(StageFolder(tmp_path / "generate-a"), Workspace(tmp_path))
    outputs.put(0, Artefact.TRAIN, b"a")
    outputs.discard()
    assert list((tmp_path / "generate-a").iterdir()) == []
