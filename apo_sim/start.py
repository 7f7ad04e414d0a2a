"""What must be so before the rest of the package is imported, which takes seconds.

The command `apo-sim` ends without a word if Ctrl-C is pressed meanwhile, and a worker process of
`validate` ends when its parent does, however that ends.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

# Names the parent to a worker, and only to that: processes that it starts do not inherit it.
PARENT = "APO_SIM_PARENT"
# Seconds between two looks whether the parent is there, and the exit status of an interruption.
_PATIENCE, _INTERRUPTED = 0.5, 130


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PATIENCE)
    os._exit(1)


class Quiet:
    """Ends the process at Ctrl-C, without a word: nothing is begun yet."""

    def __call__(self, number: int, frame: Any) -> None:
        os._exit(_INTERRUPTED)


if PARENT in os.environ:
    watched: int = int(os.environ.pop(PARENT))
    threading.Thread(target=_end_with_parent, args=(watched,), daemon=True).start()
elif (
    sys.argv
    and Path(sys.argv[0]).stem in ("apo-sim", "apo-sim-script")
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, Quiet())
