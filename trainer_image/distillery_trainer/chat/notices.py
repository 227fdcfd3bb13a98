"""Says in the log, once, what a model's servers do otherwise than they were asked to."""

from __future__ import annotations

import sys

from distillery_trainer.chat.endpoint import Endpoint
from distillery_trainer.chat.remote_model import RemoteModel
from distillery_trainer.chat.reply import Reply

_MAX_NAMES = 5


class Notices:
    """The notices about one model."""

    def __init__(self, model: RemoteModel) -> None:
        self._model = model
        self._names: set[str] = set()
        self._is_without_system_message = False

    def after(self, reply: Reply, endpoint: Endpoint) -> None:
        """Say what is new in this reply."""
        if not endpoint.accepts_system_messages and not self._is_without_system_message:
            self._is_without_system_message = True
            self._say("the server accepts no system message; its text now precedes the first user message.")
        if reply.model is not None and reply.model not in self._names and len(self._names) < _MAX_NAMES:
            self._names.add(reply.model)
            self._say(f'requested model "{self._model.model_id}", got replies from "{reply.model}".')

    def _say(self, words: str) -> None:
        sys.stderr.write(f"{self._model.title}: {words}\n")
