"""What stands for a container image: the part of this machine's file system that its containers see."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
_PACKAGES = tuple(REPOSITORY / name for name in ("crds", "operator", "trainer_image"))
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Image:
    """How containers of one image run.

    `folders` are seen read-only under their own path, beside the system's. `entrypoint` and `command` are what the
    pod's `command` and `args` replace; `user` is the image's USER.
    """

    folders: tuple[Path, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_folder: str = "/"
    user: int = 10001


def python_image(environment: dict[str, str] | None = None, entrypoint: tuple[str, ...] = ()) -> Image:
    """An image with this Python environment and the packages of this checkout, whichever one the environment was
    installed from: `python` and the installed scripts are on PATH."""
    variables = {
        "PATH": f"{Path(sys.prefix) / 'bin'}:{SYSTEM_PATH}",
        "PYTHONPATH": os.pathsep.join(map(str, _PACKAGES)),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        **(environment or {}),
    }
    return Image(folders=_python_folders(), environment=variables, entrypoint=entrypoint)


def built_in_images() -> dict[str, Image]:
    """The images that tests may name without adding one."""
    one_thread = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {
        "busybox:test": Image(environment={"PATH": SYSTEM_PATH}),
        "distillery-operator:test": python_image(),
        "distillery-trainer:test": python_image(one_thread),
    }


def _python_folders() -> tuple[Path, ...]:
    """The virtual environment, the Python it was made from, and our packages."""
    folders = [Path(sys.prefix), Path(sys.base_prefix), *_PACKAGES]
    interpreter = Path(os.path.realpath(sys.executable))
    if not any(interpreter.is_relative_to(folder) for folder in folders):
        folders.append(interpreter.parent)
    return tuple(folder for folder in folders if folder.exists() and not folder.is_relative_to("/usr"))
