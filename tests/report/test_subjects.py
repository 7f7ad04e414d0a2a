"""Which methods a claim is about."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import fake_claims  # noqa: F401  (declares the claims)

from apo_sim.claims import registry
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Statement, Verdict
from apo_sim.claims.words import Origin
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
        ("AB.1", ["DPO", "SPPO"]),  # tried at alpha = 0, and made for it
        ("LC.2", ["APO", "SPPO"]),  # tried at alpha = 0, and made for any
    ],
)
def test_methods_are_those_that_the_claim_names(id, named):
    assert methods(registry.broken(id, "not run")) == named


@pytest.mark.parametrize(
    ("statement", "alpha", "named"),
    [
        ("DPO without momentum converges.", 0, ["DPO"]),
        ("DPO converges.", (0.0, 0.3), ["APO", "DPO"]),
        (r"DPO converges for any $\alpha$.", 0.0, ["APO", "DPO"]),
        ("DPO with momentum converges.", None, ["APO", "DPO"]),
        ("It converges.", 0, ["APO"]),  # the paper's claims seldom name its method
    ],
)
def test_no_momentum_is_not_the_method_with_momentum(statement, alpha, named):
    scope = Scope("for all", "random bandits", alpha=alpha)
    of = Statement("mine", "Convergence", Origin.OURS, statement, scope)
    assert methods(Verdict(of, None, {})) == named


def test_every_method_is_named_by_some_claim():
    found = {m for id in registry.names() for m in methods(registry.broken(id, "not run"))}
    # PPO is met in one comparison only, which names it in its note.
    assert found >= set(METHODS) - {"PPO"}


def test_longer_names_are_not_taken_for_shorter_ones():
    assert not METHODS["PPO"].search("SPPO, XPPO")
    assert not METHODS["DPO"].search("ODPO") and not METHODS["XPO"].search("ExPO")
