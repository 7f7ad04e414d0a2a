"""Ctrl-C that is neither lost nor raised where it does harm.

Python raises `KeyboardInterrupt` wherever the program happens to be. In a callback of the garbage
collector, of which JAX has one, it is printed and forgotten, and the program goes on.
"""

import contextlib
import gc
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


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
