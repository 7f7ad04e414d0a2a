"""A deliberate mistake in a copy of the package, and the tests of this folder must see it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import apo_sim

from .mutants import MUTANTS
from .on_a_copy import NO_VERDICT

PACKAGE, HERE = Path(apo_sim.__file__).parent, Path(__file__).parent


@pytest.fixture(scope="module")
def judged():
    """Runs tests on the copy in a folder, and gives back their exit code and output."""
    environment = {
        **os.environ,
        "JAX_ENABLE_X64": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    # What the outer pytest was asked for is none of the inner one's business.
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTHONPATH"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "-P", HERE / "on_a_copy.py"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    jobs, codes = process.stdin, process.stdout
    assert jobs is not None and codes is not None

    def judge(folder: Path, tests: tuple[str, ...]) -> tuple[int, str]:
        job = {"folder": str(folder), "tests": [f"audit/{test}" for test in tests]}
        print(json.dumps(job), file=jobs, flush=True)
        code = int(codes.readline())
        return code, (folder / "output.txt").read_text()

    yield judge
    process.communicate()


@pytest.fixture
def copy(tmp_path):
    """A folder with the package and the tests of this folder."""
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=unwanted)
    shutil.copytree(HERE, tmp_path / "audit", ignore=unwanted)
    return tmp_path


def test_no_other_package_is_judged(tmp_path, judged):
    code, output = judged(tmp_path, ("test_weights.py",))
    assert code == NO_VERDICT, output


def test_the_original_passes(copy, judged):
    catchers = {catcher for mutant in MUTANTS for catcher in mutant.caught_by}
    code, output = judged(copy, tuple(sorted(catchers)))
    assert code == 0, output


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mistake_is_caught(copy, judged, mutant):
    path = copy / PACKAGE.name / mutant.file
    text = path.read_text()
    assert text.count(mutant.original) == 1
    path.write_text(text.replace(mutant.original, mutant.replacement))
    for catcher in mutant.caught_by:
        code, output = judged(copy, (catcher,))
        # Caught by a comparison, neither by an import that fails nor by a crash.
        assert code == pytest.ExitCode.TESTS_FAILED, output
        assert re.search(r"^E +(AssertionError|assert )", output, re.MULTILINE), output
