"""Whether the served model answers."""

from __future__ import annotations

import asyncio

import pytest

from distillery_trainer.serving import model_health
from distillery_trainer.serving.model_health import ModelHealth


class Model:
    """A model on a clock of its own."""

    def __init__(self) -> None:
        self.now, self.probes, self.works = 0.0, 0, True
        self.health = ModelHealth(self.ask, clock=lambda: self.now)

    async def ask(self) -> None:
        self.probes += 1
        if not self.works:
            raise RuntimeError("the device is lost")


async def test_an_idle_model_is_probed_for_one_token_now_and_then() -> None:
    model = Model()
    assert await model.health.answers()
    model.now = 29.0
    assert await model.health.answers()
    assert model.probes == 1
    model.now = 31.0
    assert await model.health.answers()
    assert model.probes == 2


async def test_a_model_that_raises_does_not_answer_until_it_does() -> None:
    model = Model()
    model.works = False
    assert not await model.health.answers()
    model.works = True
    assert await model.health.answers()


async def test_a_model_that_hangs_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_health, "PROBE_SECONDS", 0.05)
    assert not await ModelHealth(asyncio.Event().wait).answers()


async def test_a_busy_model_is_not_probed_and_answers_while_requests_end() -> None:
    model = Model()
    with model.health.request():
        model.now = 500.0
        with model.health.request():
            pass
        assert model.health.requests_in_flight == 1
        model.now = 1000.0
        assert await model.health.answers()
        model.now = 1101.0
        assert not await model.health.answers()
    assert model.probes == 0
    assert await model.health.answers()


async def test_a_request_that_fails_is_no_answer() -> None:
    model = Model()
    with pytest.raises(ValueError), model.health.request():  # noqa: PT011 - ours
        raise ValueError
    assert await model.health.answers()
    assert model.probes == 1


async def test_a_long_reply_is_no_fault_while_tokens_are_computed() -> None:
    model = Model()
    with model.health.request():
        for model.now in range(0, 3600, 300):
            model.health.computed_token("module", "input", "output")
        model.now = 3899.0
        assert await model.health.answers()
        model.now = 3901.0
        assert not await model.health.answers()
