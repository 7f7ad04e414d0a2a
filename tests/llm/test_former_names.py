"""Code written before the package was divided into folders runs as it did."""

import importlib

import pytest

pytest.importorskip("tunix")

from apo_sim import llm
from apo_sim.llm import evaluation, former_names, models

pytestmark = pytest.mark.llm


@pytest.mark.parametrize(("former", "today"), former_names.MODULES.items())
def test_a_module_is_found_by_its_former_name(former, today):
    found = importlib.import_module(f"apo_sim.llm.{former}")
    assert found is importlib.import_module(f"apo_sim.llm.{today}")


def test_functions_and_classes_are_found_by_their_former_names():
    for former, today in former_names.NAMES.items():
        assert getattr(llm, former) is getattr(llm, today)
    assert models.load is llm.load and callable(evaluation.summary) and callable(llm.memory)
