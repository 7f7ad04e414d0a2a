"""What is published works where the source is not: built, installed, and asked for a verdict."""

import json
import pathlib
import subprocess
import sys
import tarfile
import venv

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def run(*command: object, cwd: pathlib.Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_the_wheel_judges_a_claim_in_an_empty_environment(tmp_path) -> None:
    # The wheel is built from the source distribution, so that nothing is missing in either.
    run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT, cwd=tmp_path)
    (source,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(source) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "mkdocs.yml", "tests/test_packaging.py"} <= names

    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty/bin/python"
    constraints = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "-q", "-c", constraints, wheel, cwd=tmp_path)
    command = tmp_path / "empty/bin/apo-sim"
    run(command, "validate", "--claim", "N2", "--out", tmp_path / "results", cwd=tmp_path)
    ledger = json.loads((tmp_path / "results/claims.json").read_text(encoding="utf-8"))
    assert [entry["verdict"] for entry in ledger["claims"]] == ["holds"]
    assert (tmp_path / "results/report.html").stat().st_size > 10_000
