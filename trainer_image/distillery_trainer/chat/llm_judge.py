"""An LLM judge gives one of a few verdicts on answers to a prompt, with a reason. What a verdict means is up to the
caller: `filters/llm_judge.py` accepts or rejects one answer, `evaluation/pairwise_judge.py` compares two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.chat.delimiters import as_text, delimited
from distillery_trainer.chat.follow_up import repeated_request
from distillery_trainer.chat.remote_model import ModelClient
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.chat.request_parameters import json_format
from distillery_trainer.data.finish_reasons import Ending, ending_of
from distillery_trainer.data.pictures import with_pictures_of
from distillery_trainer.data.rows import Message
from distillery_trainer.parsing.json_replies import read_reasoning_field
from distillery_trainer.parsing.labels import LabelParser
from distillery_trainer.parsing.last_json import LastObject, last_json_object
from distillery_trainer.parsing.reasoning import without_reasoning
from distillery_trainer.parsing.unreadable import Unreadable

_MAX_TOKENS = 1024
_RUBRIC = """\


What makes an answer good is said in the rubric below. Where it differs from what is said above, follow the rubric. \
The form of your reply stays as it is described above.

<rubric>
{rubric}
</rubric>"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge decided."""

    choice: str
    """One of the allowed verdicts."""
    reply: str
    """The judge's reply, without what it quotes before its verdict."""

    @property
    def reason(self) -> str | None:
        """The judge's reason; None where it gives none."""
        return read_reasoning_field(self.reply)


@dataclass(frozen=True)
class JudgePrompt:
    """The instructions for a judge, and the verdicts that it may give."""

    instructions: str
    """The system prompt. It precedes the row and is the same for all rows, so that a server can reuse its cache."""
    key: str
    """The key of the verdict in the judge's JSON reply."""
    verdicts: tuple[str, ...]
    accepts_truncated: bool = False
    """Whether a verdict is also read in a reply that was cut off."""

    def with_rubric(self, rubric: str | None) -> JudgePrompt:
        """The same instructions with the user's own rubric, if there is one."""
        if rubric is None:
            return self
        return replace(self, instructions=self.instructions + _RUBRIC.format(rubric=rubric.strip()))

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of a request: no randomness, and JSON with a reason before the verdict."""
        schema = {
            "type": "object",
            "properties": {"reason": {"type": "string"}, self.key: {"type": "string", "enum": list(self.verdicts)}},
            "required": ["reason", self.key],
            "additionalProperties": False,
        }
        return {"temperature": 0, "max_tokens": _MAX_TOKENS, "response_format": json_format(schema)}

    def messages(self, prompt: Sequence[Message], **answers: str) -> list[Message]:
        """The request about answers to a prompt, each between delimiters of its name."""
        instructions, conversation = as_text(prompt)
        item = delimited({"instructions": instructions, "conversation": conversation, **answers})
        user = with_pictures_of({"role": "user", "content": item}, prompt)
        return [{"role": "system", "content": self.instructions}, user]


class LlmJudge:
    """Asks a judge for verdicts."""

    def __init__(self, prompt: JudgePrompt, client: ModelClient) -> None:
        self._prompt, self._client = prompt, client
        self._parser = LabelParser(prompt.verdicts, prompt.key)

    async def ask(self, prompt: Sequence[Message], **answers: str) -> Verdict | Unreadable | Failure:
        """The verdict on answers to a prompt.

        An unreadable reply is asked for once more, with what was wrong with it. Raises what the client raises.
        """
        messages = self._prompt.messages(prompt, **answers)
        reply = await self._client.ask(messages)
        verdict = self._read(reply)
        if isinstance(verdict, Unreadable) and isinstance(reply, Reply):
            return self._read(await self._client.ask(repeated_request(messages, reply.content, verdict.message)))
        return verdict

    def _read(self, outcome: Reply | Failure) -> Verdict | Unreadable | Failure:
        if isinstance(outcome, Failure):
            return outcome
        if ending_of(outcome.finish_reason) is Ending.TRUNCATED and not self._prompt.accepts_truncated:
            return Unreadable(RejectionReason.TRUNCATED, "The reply was cut off.")
        text = without_reasoning(outcome.content)
        last = last_json_object(text, self._prompt.key)
        if last and self._says_otherwise(last):
            return Unreadable(RejectionReason.BAD_JSON, "The reply goes on after its verdict, and says otherwise.")
        verdict = last.text if last else text
        choice = self._parser.read(verdict)
        return choice if isinstance(choice, Unreadable) else Verdict(choice, verdict)

    def _says_otherwise(self, last: LastObject) -> bool:
        """Whether the last object may be a quotation: another verdict, whole or cut off, comes after it."""
        after = self._parser.read(last.after)
        differs = isinstance(after, str) and after != self._parser.read(last.text)
        return differs or f'"{self._prompt.key}"' in last.after
