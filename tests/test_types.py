"""Who uses the library under a type checker finds a type for everything public."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

# Their base classes are those of Tunix, which comes without types.
OF_TUNIX = {"apo_sim.llm.models.llama.Attention", "apo_sim.llm.models.llama.Llama"}


def untyped(report: str) -> list[str]:
    """The public names in a report of `pyright --verifytypes` whose type is not known for sure."""
    symbols = json.loads(report)["typeCompleteness"]["symbols"]
    assert len(symbols) > 1000, "pyright did not find the package"
    return [each["name"] for each in symbols if each["isExported"] and not each["isTypeKnown"]]


@pytest.mark.slow
def test_everything_public_has_a_type(tmp_path):
    pytest.importorskip("pyright")
    # From elsewhere, and with the packages of this interpreter: pyright takes the first on PATH.
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "pyright", "--verifytypes", "apo_sim", "--ignoreexternal"]
    done = subprocess.run(
        [*command, "--outputjson"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert set(untyped(done.stdout)) - OF_TUNIX == set()
