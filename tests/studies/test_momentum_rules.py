"""Equal weights, the statistics of planted gaps, and rules that differ only by sampling."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import apo_sim as apo
from apo_sim.registry import MOMENTA, rule_of
from apo_sim.studies import momentum_rules
from apo_sim.studies.momentum_rules import RULES, SAMPLES, weight


def planted(better: str = "none", by: float = 0.0) -> xr.Dataset:
    """Gaps of 1.1 where exact ones are 1, noisy; one rule has a smaller statistical error."""
    rng = np.random.default_rng(0)
    gap = 1.1 + 0.01 * rng.normal(size=(len(RULES), 2, len(SAMPLES), 200))
    gap[list(RULES).index(better)] -= by
    return xr.Dataset(
        {
            "gap": (("rule", "equal", "samples", "seed"), gap),
            "exact": (("rule", "equal", "seed"), np.ones((len(RULES), 2, 200))),
        },
        {
            "rule": list(RULES),
            "equal": ["gamma", "beta"],
            "samples": list(SAMPLES),
            "arms": 10,
            "beta": 5.0,
            "iterations": 20,
        },
    )


@pytest.mark.parametrize("rule", RULES)
def test_weight_is_what_a_run_counts(rule):
    momentum, alpha = RULES[rule]
    bandit = apo.Bandit(jnp.array([[0.5, -0.5]]), jnp.full((1, 2), -jnp.log(2.0)))
    output = "after" if momentum == "averaging" else "before"
    chosen = rule_of(MOMENTA.chosen(momentum), alpha)
    run = apo.run(bandit, momentum=chosen, beta=1.0, iterations=7, output=output)
    assert weight(rule, 7) == pytest.approx(float(run.gamma[-1]), rel=1e-12)


def test_rules_differ_by_sampling_alone():
    data = momentum_rules.measure(
        seeds=6, arms=3, iterations=2, samples=(30,), rules=("none", "constant 0.9")
    )
    same, own_pace = data.sel(equal="gamma"), data.sel(equal="beta")
    assert float(abs(same.exact.sel(rule="none") - same.exact).max()) < 1e-12
    assert float(abs(same.gap.sel(rule="none") - same.gap.sel(rule="constant 0.9")).min()) > 1e-6
    # The control: without equal weights exact runs part.
    assert float(abs(own_pace.exact.sel(rule="none") - own_pace.exact).max()) > 0.01
    # The strongest extrapolation is one and the same run in both comparisons.
    anchor = data.sel(rule=momentum_rules.ANCHOR)
    assert bool((anchor.sel(equal="gamma").gap == anchor.sel(equal="beta").gap).all())
    # More labels than anybody has: the exact gap.
    plenty = momentum_rules.measure(
        seeds=6, arms=3, iterations=2, samples=(10**12,), rules=("none", "constant 0.9")
    )
    assert float(abs(plenty.gap - plenty.exact).max()) < 1e-4


def test_averaging_outputs_its_centre():
    assert weight("averaging 0.9", 20) == pytest.approx(0.1 * weight("constant 0.9", 20))


def test_finding_ranks_what_was_planted():
    found = momentum_rules.finding(planted("averaging 0.9", by=0.05))
    fewest = SAMPLES[0]
    assert found.averaging[fewest].figures == pytest.approx((0.5,) * 3, abs=0.03)
    ranks = found.ranks[fewest]
    assert ranks.best == "averaging 0.9"
    # 0.05 of 1.1, in per cent.
    assert ranks.best_change.figures == pytest.approx((-4.55,) * 3, abs=0.3)
    assert ranks.worst_change.figures == pytest.approx((0.0,) * 3, abs=0.5)
    assert (found.apart, found.left) == (0.0, 1.0)
    assert list(found.paid) == [SAMPLES[0], SAMPLES[-1]]
    assert f"averaging has {found.averaging[fewest]:.2f} at N = " in found.text
    plain = momentum_rules.finding(planted())
    assert plain.averaging[fewest].figures == pytest.approx((1.0,) * 3, abs=0.05)
    assert plain.ranks[fewest].best_change.value > -1.0


def test_draw():
    figure = Figure()
    momentum_rules.draw(figure, planted())
    assert [len(axes.lines) >= len(RULES) for axes in figure.axes] == [True, True]
    assert "over 200 seeds" in figure.get_suptitle()
