"""A model folder behind an OpenAI-compatible API with log-probabilities: a teacher whose vocabulary a student shares.

    python benchmarks/objectives/model_server.py --model FOLDER --port 8200 [--system-prompt FILE] [--device cuda]

It answers `/v1/chat/completions` with `logprobs`, `top_logprobs` and, as vLLM does, `prompt_logprobs`; requests that
wait are answered in batches. It stands in for vLLM where that does not run, and is no faster than it has to be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from aiohttp import web
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from distillery_trainer.student.vocabulary import Vocabulary

NAME = "teacher"
MOST_TOKENS = 256
_BATCH = 64
_WAIT = 0.01
"""Seconds in which further requests join a batch."""


class Model:
    """Writes and scores texts. One batch at a time."""

    def __init__(self, folder: Path, device: str) -> None:
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.vocabulary = Vocabulary(self.tokenizer)
        ends = self.model.generation_config.eos_token_id
        self.ends = set(ends if isinstance(ends, list) else [ends])

    def prompt_ids(self, messages: Sequence[dict[str, Any]], **options: Any) -> list[int]:
        """The token ids of a conversation."""
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, **options)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @torch.inference_mode()
    def write(self, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The completions of a batch of requests, each at its own temperature."""
        prompts = [self.prompt_ids(body["messages"], add_generation_prompt=True) for body in requests]
        limits = [int(body.get("max_tokens") or body.get("max_completion_tokens") or MOST_TOKENS) for body in requests]
        temperatures = [float(body.get("temperature", 1.0)) for body in requests]
        written: list[list[tuple[int, dict[str, Any]]]] = [[] for _ in requests]
        reasons: list[str | None] = [None] * len(requests)
        ids, mask = self._padded(prompts)
        cache = DynamicCache(config=self.model.config)
        while not all(reasons):
            positions = (mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                cache=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logits = output.logits[:, -1].float()
            chosen = [_choose(row, temperature) for row, temperature in zip(logits, temperatures, strict=True)]
            stated = logits.log_softmax(-1)
            for number, token in enumerate(chosen):
                if reasons[number]:
                    continue
                if token in self.ends:
                    reasons[number] = "stop"
                    continue
                most = int(requests[number].get("top_logprobs") or 0)
                written[number].append((token, self._entry(stated[number], token, most)))
                if len(written[number]) >= limits[number]:
                    reasons[number] = "length"
            ids = torch.tensor(chosen, device=self.model.device)[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], -1)
        return [
            self._completion(body, prompt, tokens, str(reason))
            for body, prompt, tokens, reason in zip(requests, prompts, written, reasons, strict=True)
        ]

    def _padded(self, prompts: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest, device = max(map(len, prompts)), self.model.device
        ids = [[self.tokenizer.pad_token_id or 0] * (longest - len(each)) + each for each in prompts]
        mask = [[0] * (longest - len(each)) + [1] * len(each) for each in prompts]
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _completion(
        self, body: dict[str, Any], prompt: list[int], tokens: list[tuple[int, dict[str, Any]]], reason: str
    ) -> dict[str, Any]:
        content = b"".join(self.vocabulary.bytes_of(token) for token, _ in tokens).decode("utf-8", "replace")
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reason}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [entry for _, entry in tokens]}
        return {"object": "chat.completion", "model": NAME, "choices": [choice], "usage": _usage(prompt, tokens)}

    def _entry(self, stated: torch.Tensor, token: int, most: int) -> dict[str, Any]:
        values, others = stated.topk(most)
        named = [self._named(*each) for each in zip(others.tolist(), values.tolist(), strict=True)]
        return {**self._named(token, float(stated[token])), "top_logprobs": named}

    def _named(self, token: int, logprob: float) -> dict[str, Any]:
        content = self.vocabulary.bytes_of(token)
        return {"token": content.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(content)}

    @torch.inference_mode()
    def score(self, body: dict[str, Any]) -> dict[str, Any]:
        """The log-probabilities of a prompt, in vLLM's form."""
        prompt = self.prompt_ids(body["messages"], continue_final_message=True)
        most = int(body["prompt_logprobs"])
        logits = self.model(input_ids=torch.tensor([prompt], device=self.model.device)).logits[0, :-1].float()
        stated = logits.log_softmax(-1)
        values, others = (each.tolist() for each in stated.topk(most, -1))
        scored: list[dict[str, Any] | None] = [None]
        for index, token in enumerate(prompt[1:]):
            likely = {token: float(stated[index, token]), **dict(zip(others[index], values[index], strict=True))}
            scored.append({str(each): self._decoded(each, value) for each, value in likely.items()})
        message = {"role": "assistant", "content": ""}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        return {
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(prompt, [0]),
            "prompt_logprobs": scored,
        }

    def _decoded(self, token: int, logprob: float) -> dict[str, Any]:
        return {"logprob": logprob, "decoded_token": self.vocabulary.bytes_of(token).decode("utf-8", "replace")}


def _choose(logits: torch.Tensor, temperature: float) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(-1), 1))


def _usage(prompt: Sequence[Any], tokens: Sequence[Any]) -> dict[str, int]:
    total = len(prompt) + len(tokens)
    return {"prompt_tokens": len(prompt), "completion_tokens": len(tokens), "total_tokens": total}


class ModelServer:
    """The HTTP side: requests wait in a queue, from which a thread takes them in batches."""

    def __init__(self, model: Model, system_prompt: str | None) -> None:
        self._model, self._system_prompt = model, system_prompt
        self._waiting: asyncio.Queue[tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1)

    def application(self) -> web.Application:
        """The routes."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_post("/v1/chat/completions", self.chat)
        application.router.add_get("/v1/models", self.models)
        application.cleanup_ctx.append(self._working)
        return application

    async def models(self, _: web.Request) -> web.Response:
        """GET /v1/models."""
        return web.json_response({"object": "list", "data": [{"id": NAME, "object": "model"}]})

    async def chat(self, request: web.Request) -> web.Response:
        """POST /v1/chat/completions."""
        body = await request.json()
        if self._system_prompt is not None:
            turns = [message for message in body["messages"] if message["role"] != "system"]
            body["messages"] = [{"role": "system", "content": self._system_prompt}, *turns]
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        await self._waiting.put((body, future))
        return web.json_response(await future)

    async def _working(self, _: web.Application) -> Any:
        task = asyncio.create_task(self._work())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _work(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            await asyncio.sleep(_WAIT)
            while not self._waiting.empty() and len(batch) < _BATCH:
                batch.append(self._waiting.get_nowait())
            try:
                replies = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._answer, [body for body, _ in batch]
                )
            except Exception as error:  # noqa: BLE001 - each request of the batch is told
                for _, future in batch:
                    if not future.done():
                        future.set_exception(web.HTTPInternalServerError(text=str(error)))
                continue
            for (_, future), reply in zip(batch, replies, strict=True):
                if not future.done():
                    future.set_result(reply)

    def _answer(self, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
        to_write = [body for body in bodies if "prompt_logprobs" not in body]
        written = iter(self._model.write(to_write) if to_write else [])
        return [self._model.score(body) if "prompt_logprobs" in body else next(written) for body in bodies]


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve a model folder with log-probabilities.")
    parser.add_argument("--model", type=Path, required=True, help="the model's folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8200, help="port to bind (default 8200)")
    parser.add_argument("--system-prompt", type=Path, help="file with the system prompt to answer under, whatever asks")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    chosen = parser.parse_args()
    prompt = chosen.system_prompt.read_text() if chosen.system_prompt else None
    server = ModelServer(Model(chosen.model, chosen.device), prompt)
    web.run_app(server.application(), host=chosen.host, port=chosen.port, access_log=None)


if __name__ == "__main__":
    main()
