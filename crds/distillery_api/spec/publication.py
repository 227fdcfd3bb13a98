"""Where a student goes beside its server: a repository of a model hub."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery_api.base import ApiModel, matches
from distillery_api.spec.fields import Flag, SecretKey, SecretKeyReference, SecretReference

_NAME = "[a-zA-Z0-9_]+([-.][a-zA-Z0-9_]+)*"

HubRepository = Annotated[
    str,
    Field(max_length=96),
    matches(f"^{_NAME}/{_NAME}$", "not a repository of the Hub; write ORG/NAME, for example team/student"),
]
Branch = Annotated[
    str,
    Field(max_length=100),
    matches("^[a-zA-Z0-9]+([-._/][a-zA-Z0-9]+)*$", "not a branch; use letters, digits and single - . _ /"),
]


class Hub(ApiModel):
    """A model repository on the Hugging Face Hub."""

    repository: HubRepository
    """Repository, as ORG/NAME. It is made where there is none. All files at its top are the student's: others are
    deleted there with the next student; folders are left alone."""
    branch: Branch = "main"
    """Branch that gets the commit. It is made from main where there is none. Default: main."""
    private: Flag = True
    """Makes a new repository private, and refuses to push to a public one. Default: true."""
    credentials: SecretReference
    """Secret with the key HF_TOKEN, a token that may write there; for a Hub of your own also HF_ENDPOINT. Only the Pod
    of the publish stage has them."""

    @property
    def uri(self) -> str:
        """The repository as a model's URI, without a revision."""
        return f"hf://{self.repository}"


class SigningKey(SecretKeyReference):
    """A private key in a Secret of the Distillation's namespace."""

    key: SecretKey = "private-key"
    """Key in the Secret. Default: private-key."""


class Publication(ApiModel):
    """Where each student goes that passes the quality gate."""

    hub: Hub | None = None
    """Pushes the student to the Hugging Face Hub (the stage publish), before it is served, also in a local run. The
    same student makes no second commit. Default: none."""
    signing_key: SigningKey | None = None
    """Private key in PEM, of an elliptic curve (P-256, P-384 or P-521), with which the stage publish signs the model's
    files (OpenSSF model signing): model.sig, beside the model in the workspace, in its image and on the Hub. Only the
    Pod of publish has it. Default: not signed."""
