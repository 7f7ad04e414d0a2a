"""Whether another method is the better choice: what is planted is said, and no more than that."""

import sys
from pathlib import Path

import pytest

import apo_sim as apo
from apo_sim.advice import methods
from apo_sim.errors import InvalidArgument
from apo_sim.studies.field_methods import BANDITS

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))
from planted_field import planted  # pyright: ignore[reportMissingImports]


def stored(changes):
    return {kind: methods.reduced(planted(changes, kind)) for kind in methods.PAPER}


def test_a_better_method_is_named_with_its_gap():
    found = methods.rivals(1000, stored({"XPO": -0.1, "SPPO, α = 0.3": -0.08}))
    named = {rival.problem: rival for rival in found if not rival.flipped}
    assert named["uniform"].method == "XPO" and named["uniform"].better
    assert named["uniform"].gap[0] == pytest.approx(0.1, abs=0.01)
    assert "XPO leaves 0.1 [" in str(named["uniform"])
    # On games the paper's method itself is the best, with its momentum.
    assert not named["cyclic"].better and named["cyclic"].alpha == 0.3
    assert "no method is significantly better than the 0.12 [" in str(named["cyclic"])


def test_nobody_is_named_where_all_are_alike():
    assert not any(rival.better for rival in methods.rivals(1000, stored({})))


def test_a_lead_at_one_neighbour_alone_does_not_count():
    data = stored({"XPO": -0.08})
    away = data["bandits"].copy(deep=True)
    away["beats"].loc[{"labels": 10_000}] = 0
    between = methods.rivals(3000, {"bandits": away})
    assert not any(rival.better for rival in between)
    assert all(rival.better for rival in methods.rivals(1000, {"bandits": away}))


def test_what_needs_features_says_so():
    found = methods.rivals(1000, stored({"greedy MLE": -0.1}))
    assert all("is told the features" in str(rival) for rival in found if rival.better)


def test_the_shipped_comparison_is_that_of_the_whole_study_and_asked_for_by_name():
    shipped = methods.shipped()
    assert set(shipped["bandits"].base.values) == {
        name for name, one in BANDITS.items() if not one.sees_rewards
    }
    advice = apo.advise(samples=1000, iterations=10, beta=1.0, methods="all")
    assert len(advice.methods) == 10
    assert str(advice).count("\n- ") == 10
    assert apo.advise(samples=1000, iterations=10, beta=1.0).methods == ()


def test_what_the_comparison_does_not_know_is_said():
    advice = apo.advise(samples=10**6, iterations=10, beta=1.0, arms=30, methods="all")
    text = " ".join(advice.caveats)
    assert "compared on 100 to 100,000 labels, not on 10,000,000" in text
    assert "compared with 10 arms (games: 3), not with 30" in text


def test_an_unknown_choice_is_refused():
    with pytest.raises(InvalidArgument, match="methods"):
        apo.advise(samples=1000, iterations=10, beta=1.0, methods="some")
