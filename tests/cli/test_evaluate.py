"""`apo-sim evaluate`: marks of a model, and of two."""

import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("tunix")

sys.path.insert(0, str(Path(__file__).parent))
from command import run

from apo_sim.llm import save
from apo_sim.llm.models import tiny

pytestmark = pytest.mark.llm
SMALL = ("--max-tokens", 4, "--max-prompt", 8, "--batch", 2, "--seeds", 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "model"
    save(tiny.model(num_layers=1), folder)
    return folder


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    file = tmp_path_factory.mktemp("evaluate") / "prompts.jsonl"
    line = {"prompt": "red blue", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    file.write_text(2 * (json.dumps(line) + "\n"))
    return file


def test_two_models_that_are_one_do_not_differ(capsys, model, prompts, tmp_path):
    asked = ("evaluate", model, "--against", model, "--prompts", prompts, *SMALL)
    status, out, _ = run(capsys, *asked, "--json", "--out", tmp_path)
    found = json.loads(out)
    assert status == 0 and found["model"] == found["against"]
    assert found["difference"][0]["metric"] == "prompt_strict"
    assert all(row["estimate"]["value"] == 0.0 for row in found["difference"])
    kept = json.loads((tmp_path / "against.json").read_text())
    marks = kept["metrics"]["prompt_strict"]
    assert len(marks) == 2 and sum(map(sum, marks)) / 4 == found["model"][0]["estimate"]["value"]


def test_marks_are_shown_in_lines(capsys, model, prompts):
    status, out, _ = run(capsys, "evaluate", model, "--prompts", prompts, *SMALL)
    assert status == 0 and re.search(r"^model +prompt_strict +[01]\.\d{3} \[", out, re.M)
    status, _, err = run(capsys, "evaluate", model, "--prompts", "none.jsonl", *SMALL)
    assert status == 2 and "prompts = 'none.jsonl' does not exist" in err
