"""The key that clients of the student's server need, as a Secret gives it to the server and to verify."""

from __future__ import annotations

import os

from distillery_api.reasons import Reason
from distillery_api.run_config import SERVER_API_KEY_VARIABLE
from distillery_trainer.runtime.errors import UserError


def server_key() -> str | None:
    """The key; None where the server needs none. Raises UserError for an empty one, which would open the server to
    anyone in silence. A line break at its end belongs to the file that the Secret was made from."""
    key = os.environ.get(SERVER_API_KEY_VARIABLE)
    if key is None:
        return None
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        problem = "is empty" if not key else "has characters that no HTTP header can hold"
        message = f"The API key of the student's server ({SERVER_API_KEY_VARIABLE}, serving.apiKey) {problem}."
        raise UserError(f"{message} Correct the Secret.", reason=Reason.CONFIGURATION_MISSING)
    return key
