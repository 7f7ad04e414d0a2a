"""Ctrl-C that is neither lost nor raised where it does harm.

Python raises `KeyboardInterrupt` wherever the program happens to be. In a callback of the garbage
collector, of which JAX has one, it is printed and forgotten, and the program goes on.
"""

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

_PATIENCE = 5.0  # seconds from Ctrl-C until it must have ended what is interruptible


@contextlib.contextmanager
def interruptible(at_once: bool = True) -> Iterator[Callable[[], None]]:
    """Within it, Ctrl-C is raised at once, or else at the next look.

    Nothing changes outside the main thread, and where somebody else handles Ctrl-C.

    Args:
        at_once: False to wait for the next look, for what must not be left halfway; a second
            Ctrl-C is raised at once all the same.

    Yields:
        A function, to be called now and then, that raises `KeyboardInterrupt` if Ctrl-C was
        pressed. It is called once more at the end.

    Example:
        >>> with interruptible() as look:
        ...     for part in range(3):
        ...         look()
    """
    before = signal.getsignal(signal.SIGINT)
    ours = threading.current_thread() is threading.main_thread() and (
        before is signal.default_int_handler or isinstance(before, _Handler)
    )
    handler = _Handler(at_once)
    if ours:
        signal.signal(signal.SIGINT, handler)
    try:
        yield handler.look
        handler.look()
    except Exception:
        handler.look()  # compiled code makes errors of its own out of an interruption
        raise
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)
        if handler.pressed:
            _heard.set()


@contextlib.contextmanager
def heard_in_compiled_code(status: int) -> Iterator[None]:
    """Within it, Ctrl-C ends the process with a status if compiled code keeps it from being heard.

    For a command, all of whose files are whole whenever it is killed. A thread waits for Ctrl-C,
    and then for some seconds until what is interruptible has ended.
    """
    waiting, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(waiting, status), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(told)


def _listen(waiting: int, status: int) -> None:
    while pressed := os.read(waiting, 1):
        if pressed[0] == signal.SIGINT and not _heard.wait(_PATIENCE):
            print("Interrupted; what is stored is kept.", file=sys.stderr)
            end_at_once(status)
        _heard.clear()
    os.close(waiting)


def end_at_once(status: int) -> NoReturn:
    """End the process without waiting for what JAX computes, nor taking away what that needs."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


_heard = threading.Event()


class _Handler:
    """Notes that Ctrl-C was pressed, and raises it where it will be heard."""

    def __init__(self, at_once: bool):
        self.at_once = at_once
        self.pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        heard = self.at_once and not _swallowed(frame)
        self.pressed = self.at_once = True
        if heard:
            raise KeyboardInterrupt

    def look(self) -> None:
        if self.pressed:
            raise KeyboardInterrupt


def _swallowed(frame: FrameType | None) -> bool:
    """Whether what is raised here would be printed and forgotten."""
    deaf = {getattr(callback, "__code__", None) for callback in gc.callbacks}
    while frame is not None:
        if frame.f_code in deaf or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
