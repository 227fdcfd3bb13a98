"""The branch that gets the student: its repository is made where there is none, and never more public than asked."""

from __future__ import annotations

from huggingface_hub import HfApi, ModelInfo
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from distillery_api.spec import Hub
from distillery_trainer.hub.failures import refused


def ready_branch(api: HfApi, wanted: Hub) -> str:
    """The newest commit of the branch, which exists then. Raises StageError where the repository is public and is not
    to be, and what the library raises."""
    repository = _existing(api, wanted) or _made(api, wanted)
    if wanted.private and not repository.private:
        raise refused(
            wanted,
            "this repository is public. Make it private there, name another one, or set publication.hub.private to"
            " false.",
        )
    try:
        return _newest_commit(api, wanted)
    except RevisionNotFoundError:
        api.create_branch(wanted.repository, branch=wanted.branch, exist_ok=True)
        return _newest_commit(api, wanted)


def files_at_top(api: HfApi, wanted: Hub, commit: str) -> dict[str, RepoFile]:
    """The files of a commit that lie in no folder, by name."""
    tree = api.list_repo_tree(wanted.repository, revision=commit)
    return {each.path: each for each in tree if isinstance(each, RepoFile)}


def _existing(api: HfApi, wanted: Hub) -> ModelInfo | None:
    try:
        return api.model_info(wanted.repository)
    except RepositoryNotFoundError:
        return None


def _made(api: HfApi, wanted: Hub) -> ModelInfo:
    api.create_repo(wanted.repository, private=wanted.private, exist_ok=True)
    return api.model_info(wanted.repository)


def _newest_commit(api: HfApi, wanted: Hub) -> str:
    return str(api.model_info(wanted.repository, revision=wanted.branch).sha)
