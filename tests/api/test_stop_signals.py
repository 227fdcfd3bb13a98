import signal
import threading

import pytest

from distillery_api.runtime.stop_signals import STOP_SIGNALS, StopRequest, on_signals, stop_on_signals


def test_signal_that_arrives_twice_is_one_request():
    stop = StopRequest()
    stop.note(signal.SIGINT)
    stop.note(signal.SIGINT)
    assert stop.requests == 1


def test_signal_after_more_than_a_second_is_another_request():
    times = iter([10.0, 11.1])
    stop = StopRequest(clock=lambda: next(times))
    stop.note(signal.SIGTERM)
    stop.note(signal.SIGINT)
    assert (stop.requests, stop.signal) == (2, signal.SIGTERM)


def test_listener_is_notified_at_once_of_an_earlier_request():
    stop, notified = StopRequest(), []
    stop.note(signal.SIGTERM)
    with stop.notifying(lambda: notified.append("now")):
        assert notified == ["now"]


def test_listener_is_notified_inside_the_block_only():
    stop, notified = StopRequest(), []
    with stop.notifying(lambda: notified.append("now")):
        assert notified == []
    stop.note(signal.SIGTERM)
    assert notified == []


def test_waiting_ends_with_a_request():
    stop = StopRequest()
    threading.Timer(0.05, stop.note, [signal.SIGTERM]).start()
    assert stop.wait(60)


def test_signal_that_interrupts_the_start_of_waiting_ends_it():
    class SignalWhenChecked(StopRequest):
        @property
        def requested(self) -> bool:
            before = super().requested
            if not before:
                signal.raise_signal(signal.SIGTERM)
            return before

    stop = SignalWhenChecked()
    with on_signals(stop.note):
        assert stop.wait(60)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signal_is_noted_and_raises_nothing(number: int):
    with stop_on_signals() as stop:
        assert not stop.requested
        signal.raise_signal(number)
    assert (stop.requested, stop.signal) == (True, number)


def test_handlers_of_before_come_back():
    seen: list[str] = []
    with on_signals(lambda _: seen.append("outer")):
        with on_signals(lambda _: seen.append("inner")):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert seen == ["inner", "outer"]
