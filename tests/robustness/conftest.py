"""The helpers beside these tests are scripts as well, and import each other by name."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a small run of the language model that nothing disturbed, and what it said."""
    from small_run import run

    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, run(folder)
