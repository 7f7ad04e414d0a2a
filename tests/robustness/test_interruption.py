"""Ctrl-C: raised at once, or at the next look, and never lost."""

import gc
import signal

import pytest

from apo_sim.interruption import interruptible

pytestmark = pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="signals")


@pytest.fixture(autouse=True)
def heard():
    """Where the tests themselves run in the background, Ctrl-C is ignored from birth."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def pressed_while_collecting():
    """A collection of garbage during which Ctrl-C is pressed, as it may be in JAX's callback."""

    def callback(phase, info):
        if phase == "start":
            press()

    def collect():
        gc.callbacks.append(callback)
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(callback)

    return collect


def test_it_is_raised_at_once():
    reached = False
    with pytest.raises(KeyboardInterrupt), interruptible():
        press()
        reached = True
    assert not reached


def test_or_at_the_next_look():
    reached = []
    with pytest.raises(KeyboardInterrupt), interruptible(at_once=False) as look:
        press()
        reached.append(1)
        look()
        reached.append(2)
    assert reached == [1]


def test_the_second_one_is_raised_at_once():
    reached = []
    with pytest.raises(KeyboardInterrupt), interruptible(at_once=False):
        press()
        reached.append(1)
        press()
        reached.append(2)
    assert reached == [1]


def test_a_callback_of_the_collector_does_not_swallow_it(pressed_while_collecting):
    reached = []
    with pytest.raises(KeyboardInterrupt), interruptible() as look:
        pressed_while_collecting()
        reached.append(1)
        look()
        reached.append(2)
    assert reached == [1]


def test_without_a_look_it_is_raised_at_the_end(pressed_while_collecting):
    with pytest.raises(KeyboardInterrupt), interruptible():
        pressed_while_collecting()


def test_within_another_it_is_raised_once():
    with interruptible() as outer:
        with pytest.raises(KeyboardInterrupt), interruptible():
            press()
        outer()


def test_whoever_else_handles_it_keeps_it():
    heard = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with interruptible() as look:
        press()
        look()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert heard == [signal.SIGINT]
