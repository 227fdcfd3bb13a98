"""The base model as a server of adapters needs it: kept in the workspace, so that all students on it are trained on the
weights and with the chat template that are served with them."""

from __future__ import annotations

import shutil
from pathlib import Path

from distillery_api.run_config import RunConfig
from distillery_api.runtime.atomic_files import make_folder
from distillery_trainer.runtime.folder_locks import locked_folder
from distillery_trainer.student.base_licence import copy_licence_files
from distillery_trainer.student.chat_template import Rendering
from distillery_trainer.student.folder_files import CONFIG, WEIGHTS
from distillery_trainer.student.model_folder import ModelFolder, locate, open_folder
from distillery_trainer.student.saving import copy_processor, greedy_decoding, readable_by_servers, replaced_folder


def kept_base(config: RunConfig, base_folder: str, rendering: Rendering) -> ModelFolder:
    """The base model in `base_folder` of the workspace, which is filled first where no earlier student has done so.

    Raises InvalidModel, UserError, and TryLater where another stage fills it at this moment.
    """
    folder, uri = config.paths.base_model(base_folder), config.student.model.uri
    if not folder.exists():  # which it is only once it is complete, so that readers need no lock
        with locked_folder(config, base_folder):
            if not folder.exists():
                _keep(open_folder(locate(config), uri, rendering.template), folder)
    return open_folder(folder, uri)


def leave_adapter(adapter: Path, folder: Path) -> None:
    """Copy a trained adapter to where servers find it."""
    make_folder(folder.parent, private=True)
    with replaced_folder(folder) as draft:
        shutil.copytree(adapter, draft, dirs_exist_ok=True)
        readable_by_servers(draft)


def _keep(base: ModelFolder, folder: Path) -> None:
    """Write the model with its own weights, the tokenizer with the chat template that is trained with, and greedy
    decoding."""
    with replaced_folder(folder) as draft:
        for file in (base.path / CONFIG, *base.path.glob(f"{WEIGHTS}*")):
            shutil.copyfile(file, draft / file.name)
        copy_licence_files(base.path, draft, with_card=True)
        base.tokenizer.save_pretrained(draft)
        copy_processor(base, draft)
        greedy_decoding(base).save_pretrained(draft)
        readable_by_servers(draft)
