"""Code written before the package was divided into folders runs as it did."""

import importlib

import pytest

pytest.importorskip("tunix")

from apo_sim import llm
from apo_sim.llm import evaluation, former_names, models
from apo_sim.llm.evaluation.held_out import Judged, summary
from apo_sim.transformer_rows import PolicyRow, StepRow

pytestmark = pytest.mark.llm


@pytest.mark.parametrize(("former", "today"), former_names.MODULES.items())
def test_a_module_is_found_by_its_former_name(former, today):
    found = importlib.import_module(f"apo_sim.llm.{former}")
    assert found is importlib.import_module(f"apo_sim.llm.{today}")


def test_functions_and_classes_are_found_by_their_former_names():
    for former, today in former_names.NAMES.items():
        assert getattr(llm, former) is getattr(llm, today)
    assert models.load is llm.load and callable(evaluation.summary) and callable(llm.memory)


def test_rows_are_read_like_the_dictionaries_that_they_were():
    better = Judged(["b", "b"], [1, 2], [1.0, 1.0], [0.1, 0.3], [0.0, 0.0])
    worse = Judged(["a", "a"], [1, 1], [0.0, 2.0], [0.0, 0.0], [0.0, 0.0])
    figures = summary([llm.Prompt("x")] * 2, better, worse)
    row = PolicyRow("pi_hat_1", 1, figures)
    assert row["policy"] == "pi_hat_1" and row["iteration"] == 1
    assert row["wins"] == figures["wins"] == [1.0, 0.0]
    assert row["win_rate"] == [0.5, figures.win_rate.low, figures.win_rate.high]
    assert row["kl"][0] == figures["kl"][0] == pytest.approx(0.2)
    assert row["strict"] is None
    with pytest.raises(KeyError, match="loss"):
        row["loss"]
    assert StepRow(1, 0.1, 0.7, 0.2, 1.0)["loss"] == 0.7
