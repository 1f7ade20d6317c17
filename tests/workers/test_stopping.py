from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from threading import Timer

import pytest

from layerprune.api.errors import NotFound, Unavailable
from workers.stopping import Stop, Stopped


def failing(*errors: Exception) -> Callable[[], str]:
    """Return a call that raises each error once and then succeeds."""
    left = list(errors)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return call


def test_persist_goes_on_until_the_server_answers(stop: Stop) -> None:
    assert stop.persist(failing(Unavailable("away"), Unavailable("away"))) == "answer"


def test_persist_does_not_repeat_what_was_refused(stop: Stop) -> None:
    with pytest.raises(NotFound):
        stop.persist(failing(NotFound("no such attempt")))


def test_persist_gives_up_when_told(stop: Stop) -> None:
    with pytest.raises(Unavailable):
        stop.persist(failing(Unavailable("away")), until=lambda: True)


def test_a_stop_ends_persisting(stop: Stop) -> None:
    Timer(0.05, stop.request).start()
    with pytest.raises(Stopped):
        stop.persist(failing(*[Unavailable("away")] * 100))


def test_a_stop_is_seen_by_every_waiter(stop: Stop) -> None:
    stop.request()
    stop.request()
    assert stop.wait(60)
    assert select.select([stop], [], [], 60)[0] == [stop]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_breaks_off_a_wait_for_the_server(stop: Stop, number: signal.Signals) -> None:
    with stop.on_signals(), pytest.raises(Stopped):
        break_off(stop, number)
    assert stop.requested


def break_off(stop: Stop, number: signal.Signals) -> None:
    with stop.breakable():
        Timer(0.05, os.kill, (os.getpid(), number)).start()
        select.select([], [], [], 60)


def test_a_signal_elsewhere_only_requests_the_stop(stop: Stop) -> None:
    with stop.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(60)


def test_the_second_signal_has_its_usual_effect(stop: Stop) -> None:
    with stop.on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_wait_after_the_stop_does_not_begin(stop: Stop) -> None:
    stop.request()
    with pytest.raises(Stopped), stop.breakable():
        pytest.fail("it began")
