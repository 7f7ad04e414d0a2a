"""Which methods a claim is about."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import fake_claims  # noqa: F401  (declares the claims)

from apo_sim.claims import registry
from apo_sim.report._subjects import METHODS, methods


@pytest.mark.parametrize(
    ("id", "named"),
    [
        ("F3", ["XPO"]),
        ("F6b", ["pessimism"]),
        ("F7", ["DPO", "KTO"]),
        ("G1", ["magnetic mirror descent"]),
        ("G4", ["SPPO"]),
        ("N12", ["APO", "IPO", "SPPO"]),
        ("LD.1", ["APO"]),
        ("ExPO", ["APO", "ExPO"]),
    ],
)
def test_methods_are_those_that_the_claim_names(id, named):
    assert methods(registry.broken(id, "not run")) == named


def test_every_method_is_named_by_some_claim():
    found = {m for id in registry.names() for m in methods(registry.broken(id, "not run"))}
    # PPO is met in one comparison only, which names it in its note.
    assert found >= set(METHODS) - {"PPO"}


def test_longer_names_are_not_taken_for_shorter_ones():
    assert not METHODS["PPO"].search("SPPO, XPPO")
    assert not METHODS["DPO"].search("ODPO") and not METHODS["XPO"].search("ExPO")
