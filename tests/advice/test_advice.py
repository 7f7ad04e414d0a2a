"""Advice: read from the surface, simulated, refused; and how good it is elsewhere."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import apo_sim as apo
from apo_sim.advice import _evidence, _lookup, elsewhere, surface
from apo_sim.advice._setting import Setting
from apo_sim.advice.advise import Advice, _advice
from apo_sim.errors import InvalidArgument, UnknownName

SHIPPED = surface.shipped()
BANDIT = apo.Bandit(jnp.array([[0.3, 0.0, -0.3]]), jnp.log(jnp.array([[0.2, 0.3, 0.5]])))
GIVEN = {"samples": 1000, "iterations": 12, "beta": 5.0}


def read(**change) -> Advice:
    """Advice from the surface."""
    given = {**GIVEN, "arms": 10, "spread": 1.0, "contexts": 1, **change}
    setting = Setting(**given)
    return _advice(_evidence.stored(setting), setting)


def test_the_surface_is_whole():
    assert SHIPPED.gap.dims == ("arms", "alpha", "beta", "samples", "iteration")
    assert all(np.isfinite(values).all() for values in SHIPPED.data_vars.values())
    assert list(SHIPPED.alpha.values) == pytest.approx(list(surface.ALPHAS))
    assert SHIPPED.attrs["runs"] >= 100_000
    # alpha = 0 is its own rival.
    for name in ("over_none", "over_matched", "worse"):
        assert float(abs(SHIPPED[name].sel(alpha=0.0)).max()) < 1e-6
    # A single update has met no momentum.
    assert float(abs(SHIPPED.over_none.sel(iteration=1)).max()) == 0.0


def test_a_setting_of_the_surface_is_read_as_it_is():
    point = {"arms": 10, "beta": 5.0, "samples": 1000, "iteration": 12}
    table, stored = _lookup.at(point), SHIPPED.sel(point)
    np.testing.assert_allclose(table.gap, stored.gap, rtol=1e-5)
    none = float(stored.gap.sel(alpha=0.0))
    np.testing.assert_allclose(table.over_none, stored.over_none / none, atol=1e-5)
    matched = stored.gap + stored.over_matched
    np.testing.assert_allclose(table.over_matched, stored.over_matched / matched, atol=1e-5)


def test_between_two_settings_it_lies_between():
    low, high = (
        _lookup.at({"arms": 10, "beta": beta, "samples": 1000, "iteration": 12}).gap
        for beta in (2.0, 5.0)
    )
    middle = _lookup.at({"arms": 10, "beta": math.sqrt(10.0), "samples": 1000, "iteration": 12}).gap
    np.testing.assert_allclose(middle, np.sqrt(low * high), rtol=1e-5)


def test_rewards_weight_and_noise_scale_together():
    half = _evidence.stored(Setting(4000, 12, 2.5, 10, 0.5, 1))
    whole = _evidence.stored(Setting(1000, 12, 5.0, 10, 1.0, 1))
    np.testing.assert_allclose(half.table.gap, 0.5 * whole.table.gap)
    np.testing.assert_allclose(half.table.over_none, whole.table.over_none)
    assert "by scaling" in half.caveats[0] and not whole.caveats


def test_contexts_share_the_samples():
    assert read().gap == read(samples=10_000, contexts=10).gap


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arms": 100}, "arms = 100 is outside 3 to 30"),
        ({"iterations": 500}, "iteration = 500 is outside 1 to 50"),
        ({"beta": 1e-4}, "beta = 0.0001 is outside"),
        ({"samples": 10**9}, "samples = 1,000,000,000 is outside"),
    ],
    ids=str,
)
def test_extrapolation_is_said(change, words):
    advice = read(**change)
    assert any(words in caveat for caveat in advice.caveats)
    assert words in str(advice)
    assert math.isfinite(advice.gap[0]) and 0 <= advice.worse <= 1


def planted(gaps: dict[float, float], matched: float = 0.0, cases: int = 10) -> _evidence.Evidence:
    """Evidence in which the gap of every alpha is known."""
    alphas, values = list(gaps), np.array(list(gaps.values()))
    over_none = 1 - values / values[0]
    zero = np.zeros(len(alphas))
    table = xr.Dataset(
        {
            "gap": ("alpha", values),
            "over_none": ("alpha", over_none),
            "over_matched": ("alpha", np.full(len(alphas), matched)),
            "worse": ("alpha", zero),
            **{f"{n}_half": ("alpha", zero) for n in ("gap", "over_none", "over_matched")},
        },
        {"alpha": alphas},
    )
    excess = np.tile(values / values.min() - 1, (cases, 1))
    best = alphas[int(values.argmin())]
    return _evidence.Evidence(best, table, excess, "planted runs", "it depends")


@pytest.mark.parametrize(
    ("gaps", "matched", "kind", "alpha"),
    [
        ({0.0: 1.0, 0.5: 0.5, 0.9: 0.7}, 0.4, "momentum", 0.5),
        ({0.0: 1.0, 0.5: 0.5, 0.9: 0.7}, 0.02, "smaller beta", 0.5),
        ({0.0: 1.0, 0.5: 1.5, 0.9: 4.0}, 0.4, "none", 0.0),
        ({0.0: 1.0, 0.5: 1.01, 0.9: 0.99}, 0.4, "any", 0.9),
    ],
)
def test_what_the_figures_lead_to(gaps, matched, kind, alpha):
    setting = Setting(100, 10, 5.0, 10, 1.0, 1)
    advice = _advice(planted(gaps, matched), setting)
    assert (advice.kind, advice.alpha, advice.sure) == (kind, alpha, True)
    total = float(apo.theory.gamma(alpha, 5.0, 10)[-1])
    assert advice.equal_beta == pytest.approx(10 / total)


def test_it_is_not_sure_where_the_cases_disagree():
    base = planted({0.0: 1.0, 0.5: 0.5})
    excess = base.excess.copy()
    excess[:3] = [0.0, 1.0]
    doubtful = _evidence.Evidence(base.best, base.table, excess, "planted runs", "it depends")
    advice = _advice(doubtful, Setting(100, 10, 5.0, 10, 1.0, 1))
    assert not advice.sure and advice.caveats == ("it depends",)
    assert "Caution: it depends." in str(advice)


@pytest.fixture(scope="module")
def simulated():
    return apo.advise(300, 2, 5.0, arms=3, simulate=60, family="tied", progress=False)


def test_a_simulation_says_what_it_ran(simulated):
    assert "720 runs of the family tied" in simulated.source
    # Gains are the same thing said twice.
    none = simulated.table.gap.sel(alpha=0.0)
    np.testing.assert_allclose(simulated.table.over_none, 1 - simulated.table.gap / none)
    low, high = simulated.gap[1]
    assert low < simulated.gap[0] < high


def test_the_surface_agrees_with_a_simulation_of_its_own_family():
    given = {"samples": 1000, "iterations": 6, "beta": 5.0, "arms": 10}
    stored = read(**given)
    run = apo.advise(**given, simulate=100, seed=9, progress=False)
    assert stored.alpha == run.alpha == 0.9
    (low, high), (other_low, other_high) = stored.gap[1], run.gap[1]
    assert low < other_high and other_low < high
    # The control: another setting is not mistaken for it.
    elsewhere_low, elsewhere_high = read(**{**given, "beta": 1.0}).gap[1]
    assert not (elsewhere_low < other_high and other_low < elsewhere_high)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"samples": 0}, InvalidArgument, "samples = 0"),
        ({"samples": None}, InvalidArgument, "samples = None is missing"),
        ({"iterations": 0}, InvalidArgument, "iterations = 0"),
        ({"beta": 0.0}, InvalidArgument, "beta = 0.0 must be positive"),
        ({"beta": [1.0, 2.0]}, InvalidArgument, "beta"),
        ({"arms": 1}, InvalidArgument, "arms = 1 leaves nothing to choose"),
        ({"spread": 2.0}, InvalidArgument, "spread = 2.0 is above 1"),
        ({"spread": math.nan}, InvalidArgument, "spread = nan must be positive"),
        ({"contexts": 0}, InvalidArgument, "contexts = 0"),
        ({"simulate": 3}, InvalidArgument, "simulate = 3 is too few"),
        ({"family": "zipf", "problem": BANDIT}, InvalidArgument, "and a problem are both given"),
        ({"problem": 3}, InvalidArgument, "problem = 3 is not a bandit"),
        ({"family": "zpif"}, UnknownName, "did you mean 'zipf'"),
    ],
    ids=str,
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        apo.advise(**{**GIVEN, **change})


def test_planted_excess_is_found_and_told():
    one = {"family": "ties", "beta": 1.0, "samples": 100, "iterations": 3}
    rows = [
        {"excess": 0.0, "excess_low": 0.0, "sure": True},
        {"excess": 0.5, "excess_low": 0.3, "sure": False},
        {"excess": 0.2, "excess_low": 0.0, "sure": True},
        {"excess": 0.9, "excess_low": 0.4, "sure": True},
    ]
    same = {"literally": False, "source": "law", "seconds": 0.1}
    data = xr.concat(
        [xr.Dataset({**row, **same}, one) for row in rows], dim="setting", coords="all"
    )
    untold = data.assign(sure=~data.sure)
    both = xr.concat([untold, data], xr.Variable("told", [False, True])).assign_attrs(runs=90)
    both = both.assign_coords(family=("setting", ["ties"] * len(rows)))
    told, other = elsewhere.finding(both).split("Taking it for uniform")
    assert "in 1 of 4 (25 %" in told
    assert "In 3 it is not (in 2 beyond the noise)" in told
    assert "it had not warned in 2 (1 beyond the noise)." in told
    assert "It warned in 1 of 4" in told and "It warned in 3 of 4" in other
    assert "It rests on the law in 4; 0.1 s" in told and other.endswith("(90 runs.)")


ELSEWHERE = {
    "ties": {
        "family": "tied",
        "arms": 3,
        "beta": (2.0, 20.0),
        "samples": (30, 3000),
        "horizons": (4,),
    }
}


def test_advice_is_good_on_another_family_and_bad_advice_is_not(monkeypatch):
    def judged() -> xr.Dataset:
        return elsewhere.measure(seeds=60, elsewhere=ELSEWHERE, progress=False)

    data = judged()
    assert not bool((data.excess_low > 0.1).any())
    assert set(data.source.sel(told=True).values) == {"law", "simulation"}
    assert "stored" in data.source.sel(told=False).values
    never = dataclasses.replace(read(), alpha=0.0, sure=True)
    monkeypatch.setattr(elsewhere, "advise", lambda *args, **kwargs: never)
    assert float((judged().excess_low > 0.1).mean()) > 0.5
