"""A checkpoint counts only if all its files are as they were written."""

import pytest
from transformers import TrainerState

from distillery_trainer.student.checkpoints import checkpoint_path, last_checkpoint, seal


def write_checkpoint(folder, step, best=None, sealed=True):
    checkpoint = checkpoint_path(folder, step)
    checkpoint.mkdir(parents=True)
    (checkpoint / "weights.safetensors").write_bytes(bytes(range(256)) * 40)
    (checkpoint / "optimizer.pt").write_bytes(b"state" * 100)
    TrainerState(global_step=step, best_global_step=best).save_to_json(str(checkpoint / "trainer_state.json"))
    if sealed:
        seal(checkpoint)
    return checkpoint


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": flip_bit,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-2]),
    "empty": lambda path: path.write_bytes(b""),
    "zero bytes": lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.pt", "trainer_state.json", "complete.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_named_removed_and_replaced_by_the_one_before(tmp_path, file, damage, capsys):
    before, last = write_checkpoint(tmp_path, 8), write_checkpoint(tmp_path, 10)
    DAMAGES[damage](last / file)
    assert last_checkpoint(tmp_path) == before
    assert capsys.readouterr().err == f"The checkpoint {last} is incomplete or damaged, and is not used.\n"
    assert not last.exists()


def test_newest_complete_checkpoint_is_taken(tmp_path):
    write_checkpoint(tmp_path, 9)
    last = write_checkpoint(tmp_path, 10)
    assert last_checkpoint(tmp_path) == last


def test_checkpoint_that_was_not_finished_is_not_used(tmp_path):
    before = write_checkpoint(tmp_path, 8)
    write_checkpoint(tmp_path, 10, sealed=False)
    (tmp_path / "checkpoint-12").mkdir()
    assert last_checkpoint(tmp_path) == before


def test_checkpoint_whose_best_one_is_damaged_is_not_used(tmp_path):
    best = write_checkpoint(tmp_path, 8, best=8)
    write_checkpoint(tmp_path, 10, best=8)
    flip_bit(best / "weights.safetensors")
    assert last_checkpoint(tmp_path) is None


def test_checkpoint_after_its_best_one_is_used(tmp_path):
    write_checkpoint(tmp_path, 8, best=8)
    last = write_checkpoint(tmp_path, 10, best=8)
    assert last_checkpoint(tmp_path) == last


def test_state_of_another_release_is_not_used(tmp_path):
    checkpoint = write_checkpoint(tmp_path, 8, sealed=False)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 8, "from_the_future": true}')
    seal(checkpoint)
    assert last_checkpoint(tmp_path) is None


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "runs").mkdir()
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "none") is None
