"""SIGTERM ends a stage at a moment that loses nothing."""

import os
import signal
import threading

import pytest

from distillery_trainer.runtime.errors import Terminated
from distillery_trainer.runtime.signals import on_termination, raise_terminated, termination_deferred


def test_signal_raises_terminated_unless_the_stage_has_something_to_finish():
    seen = threading.Event()
    with on_termination(raise_terminated):
        with on_termination(seen.set):
            os.kill(os.getpid(), signal.SIGTERM)
            assert seen.wait(1)
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)


def test_signal_that_is_put_off_comes_again():
    steps = []

    def put_off() -> None:
        with termination_deferred():
            signal.raise_signal(signal.SIGTERM)
            steps.append("after the signal")
        steps.append("after the block")

    with on_termination(raise_terminated), pytest.raises(Terminated):
        put_off()
    assert steps == ["after the signal"]
