"""Ctrl-C ends the command though compiled code is at work, and what is stored is kept."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")

# Where the tests themselves run in the background, Ctrl-C is ignored from birth.
BEGIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
# A function in C, which lets other threads run, and hears nothing for minutes.
DEAF = """
import hashlib
from apo_sim.interruption import heard_in_compiled_code, interruptible
with interruptible(), heard_in_compiled_code(130):
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""
COMMAND = """
import sys
sys.argv[0] = "apo-sim"
from apo_sim.cli import main
print("begun", flush=True)
sys.exit(main())
"""
SWEEP = ("--alpha", "0", "0.3", "--seeds", "3", "--arms", "3", "--iterations", "4", "--beta", "1")


def interrupted(program, arguments=(), after=0.5):
    """Exit status, standard error, and seconds until the end, of a program after Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said, time.monotonic() - started


def test_what_hears_nothing_is_ended():
    status, said, seconds = interrupted(DEAF)
    assert status == 130 and said == "Interrupted; what is stored is kept.\n"
    assert seconds < 30


def test_without_it_compiled_code_goes_on():
    """Control."""
    alone = DEAF.replace(", heard_in_compiled_code(130)", "").replace("10**9", "3 * 10**7")
    status, said, seconds = interrupted(alone)
    assert status != 130 and "KeyboardInterrupt" in said and seconds > 1


@pytest.mark.parametrize("after", [0.0, 2.0, 4.0])
def test_a_sweep_ends_with_its_status_and_goes_on_to_the_same_results(tmp_path, after):
    there, whole = tmp_path / "there.zarr", tmp_path / "whole.zarr"
    arguments = ["sweep", *SWEEP, "--samples", "50", "--chunk", "1", "--out"]
    status, said, seconds = interrupted(COMMAND, [*arguments, str(there)], after)
    assert status in (0, 130) and "Traceback" not in said and seconds < 30
    for folder in (there, whole):
        subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments, str(folder)],
            check=True,
            capture_output=True,
        )
    np.testing.assert_array_equal(
        *(
            xarray.open_zarr(folder, chunks=None, consolidated=False).suboptimality
            for folder in (there, whole)
        )
    )
