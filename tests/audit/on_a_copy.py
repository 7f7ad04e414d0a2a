"""Run tests on copies of the package, each in a process of its own.

A job is a line of JSON on the standard input, {"folder": ..., "tests": [...]}; its exit code comes
back as a line, and what it printed lies in the folder's output.txt. Libraries are imported once,
here; a copy of the package only by the fork that tests it.
"""

import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import pytest

LIBRARIES = ("hypothesis", "jax", "matplotlib.figure", "optax", "scipy.optimize", "xarray", "zarr")
NO_VERDICT = 99
SECONDS = 300


def run(folder: str, tests: list[str]) -> int:
    """What pytest says of the tests, after the package of this folder has been imported."""
    os.chdir(folder)
    with open("output.txt", "w") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    sys.path.insert(0, folder)
    package = importlib.import_module("apo_sim")
    if not Path(str(package.__file__)).resolve().is_relative_to(Path(folder).resolve()):
        print("not the copy:", package.__file__)
        return NO_VERDICT
    # The folder has no conftest, and its settings are not those of the repository.
    options = ["-q", "-x", "--tb=short", "--import-mode=importlib", "-p", "no:cacheprovider"]
    return pytest.main([*options, "--rootdir", folder, *tests])


def in_a_fork(folder: str, tests: list[str]) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(SECONDS)
    code = NO_VERDICT
    try:
        code = run(folder, tests)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        job = json.loads(line)
        print(in_a_fork(job["folder"], job["tests"]), flush=True)
