"""The command in a process of its own, ended by a signal at a chosen moment."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
# As the installed script does it: its name is known before anything is imported. Where the tests
# themselves run in the background, Ctrl-C is ignored from birth.
SCRIPT = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "import sys; sys.argv[0] = 'apo-sim'; {imports}"
    "from apo_sim.cli import main; sys.exit(main(sys.argv[1:]))"
)


def start(*arguments, imports=""):
    """A process of the command in a session of its own, which hears Ctrl-C."""
    command = [sys.executable, "-c", SCRIPT.format(imports=imports), *map(str, arguments)]
    paths = [str(ROOT), str(Path(__file__).parent)]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process, number):
    """Send a signal, see that all ends within five seconds and nothing is said; its outcome."""
    process.send_signal(number)
    sent = time.monotonic()
    out, err = process.communicate(timeout=60)
    while _is_there(process.pid):
        assert time.monotonic() - sent < 5, "a process is left"
        time.sleep(0.05)
    assert "Traceback" not in err and "Exception ignored" not in err, err
    # It may have been done before.
    assert process.returncode in (0, 130 if number == signal.SIGINT else -number), (out, err)
    return process.returncode


def _is_there(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
