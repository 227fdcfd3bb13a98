"""The formats of rows: for each a function from a record to a conversation, and the detection of a record's format.

Reading bytes, compression and tables belongs in data/ above; what a task requires of a row, in tasks/.

To add a format, add its name to `DataFormat`, a function to a module here, and both to `READERS` and `detect`.
"""

from __future__ import annotations

from typing import Any

from distillery_api.spec import DataFormat, DataSource
from distillery_trainer.data.formats.chat import chat, is_fine_tuning, openai_fine_tuning
from distillery_trainer.data.formats.columns import by_columns, needed_columns, possible_columns
from distillery_trainer.data.formats.conversation import Reader, named
from distillery_trainer.data.formats.evals import openai_evals
from distillery_trainer.data.formats.instructions import alpaca, prompt_completion, share_gpt
from distillery_trainer.data.formats.keys import KNOWN_KEYS
from distillery_trainer.data.formats.logs import bedrock_invocation, litellm_log, openai_stored_completion, vllm_log

READERS: dict[DataFormat, Reader] = {
    DataFormat.CHAT: chat,
    DataFormat.OPENAI_FINE_TUNING: openai_fine_tuning,
    DataFormat.PROMPT_COMPLETION: prompt_completion,
    DataFormat.ALPACA: alpaca,
    DataFormat.SHARE_GPT: share_gpt,
    DataFormat.OPENAI_STORED_COMPLETIONS: openai_stored_completion,
    DataFormat.BEDROCK_INVOCATIONS: bedrock_invocation,
    DataFormat.VLLM_LOG: vllm_log,
    DataFormat.LITELLM_LOG: litellm_log,
    DataFormat.OPENAI_EVALS: openai_evals,
}

# The first set of keys that a record has determines its format. Logs come first, since they have messages as well. Rows
# with messages only are Chat or OpenAIFineTuning; their messages tell which.
_KEYS_OF_FORMATS: tuple[tuple[frozenset[str], DataFormat], ...] = tuple(
    (frozenset(keys), data_format)
    for keys, data_format in (
        (("schemaType", "modelId", "input"), DataFormat.BEDROCK_INVOCATIONS),
        (("modelId", "operation", "input"), DataFormat.BEDROCK_INVOCATIONS),
        (("object", "choices"), DataFormat.OPENAI_STORED_COMPLETIONS),
        (("messages", "response", "status"), DataFormat.LITELLM_LOG),
        (("request", "response"), DataFormat.VLLM_LOG),
        (("input", "ideal"), DataFormat.OPENAI_EVALS),
        (("sample", "datasource_item"), DataFormat.OPENAI_EVALS),
        (("sample", "item"), DataFormat.OPENAI_EVALS),
        (("conversations",), DataFormat.SHARE_GPT),
        (("instruction",), DataFormat.ALPACA),
        (("messages", "tools"), DataFormat.OPENAI_FINE_TUNING),
        (("messages", "functions"), DataFormat.OPENAI_FINE_TUNING),
        (("messages", "parallel_tool_calls"), DataFormat.OPENAI_FINE_TUNING),
        (("messages",), DataFormat.CHAT),
        (("prompt",), DataFormat.PROMPT_COMPLETION),
        (("chosen", "rejected"), DataFormat.PROMPT_COMPLETION),
    )
)


def detect(row: dict[str, Any]) -> DataFormat | None:
    """The format that a record looks like; None if it matches none."""
    found = next((data_format for keys, data_format in _KEYS_OF_FORMATS if keys <= row.keys()), None)
    return DataFormat.OPENAI_FINE_TUNING if found is DataFormat.CHAT and is_fine_tuning(row) else found


def named_format(settings: DataSource) -> DataFormat | None:
    """The row format that the manifest sets; None if it sets none or only a file type."""
    return settings.format if settings.format in READERS else None


__all__ = [
    "KNOWN_KEYS",
    "READERS",
    "Reader",
    "by_columns",
    "detect",
    "named",
    "named_format",
    "needed_columns",
    "possible_columns",
]
