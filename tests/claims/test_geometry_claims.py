"""The claims about geometries: their pieces on planted data, and what each must find."""

import sys
from pathlib import Path
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parent))
from checked import check, of_group

from apo_sim import claims, theory
from apo_sim.claims import Study, b1, b2, b3, b4, instances
from apo_sim.geometry import Burg, Euclidean, Tsallis
from apo_sim.problems import Bandit
from apo_sim.studies.geometry_comparison import COMMON, CONTENDERS, OWN


@pytest.mark.slow
@pytest.mark.parametrize("id", [of_group(id) for id in ("B1", "B2", "B3")])
def test_another_seed_finds_the_same(id):
    found, other = check(id), check(id, 7)
    assert other.verdict == found.verdict and other.flaw is None


@pytest.mark.long
@pytest.mark.xdist_group("B1")
def test_the_agile_path_leaves_the_lazy_one_only_where_rewards_move():
    facts = check("B1").facts
    assert facts["agile differs, DPO"] == 0 and facts["agile had an arm at 0, DPO"] > 0.9
    assert facts["agile differs, SPPO on cycles, α = 0.9"] > 0.5


def test_a_difference_before_an_arm_was_at_0_is_noticed():
    apart = np.zeros((2, b1.ITERATIONS + 1))
    apart[0, 6], apart[1, 5] = 0.1, 0.1
    agile = b1.Agile(apart, zero=np.array([5, 5]))
    assert agile.differs.tolist() == [True, True]
    assert agile.before.tolist() == [0.0, 0.1]


def test_the_closed_form_of_another_geometry_is_none(monkeypatch):
    monkeypatch.setattr(b1, "KEPT", ("Burg",))
    monkeypatch.setattr(b1, "_agile", lambda seed, count: {b1.STANDING: _no_agile()})
    right, compiled = theory.closed_form, cast(Any, b1._compare)

    def of_tsallis(*given, geometry, **named):
        return right(*given, geometry=Tsallis(0.1), **named)

    with monkeypatch.context() as patched:
        patched.setattr(theory, "closed_form", of_tsallis)
        compiled.clear_cache()
        assert b1.dual_closed_form(Study("B1")).verdict == "fails"
    compiled.clear_cache()
    assert b1.dual_closed_form(Study("B1")).verdict == "holds"


def _no_agile() -> b1.Agile:
    return b1.Agile(np.zeros((2, b1.ITERATIONS + 1)), zero=np.array([3, 4]))


@pytest.mark.long
@pytest.mark.xdist_group("B2")
def test_the_sharp_constants_are_attained():
    found = check("B2")
    assert found.ratio == pytest.approx(1.0, abs=1e-9)
    for name in b2.NAMES:
        assert found.facts[f"attained, least, {name}"] > 1 - 1e-6
        assert 0.9 < found.facts[f"adversary, least, {name}"] <= 1 + 1e-9
    assert found.facts["constant / textbook, least, Euclidean"] == pytest.approx(0.5)
    assert found.facts["constant / textbook, most, Euclidean"] == pytest.approx(0.5)


def test_the_witness_is_of_the_geometry_that_its_place_is_in():
    drawn = instances.random(np.random.default_rng(0), 3)
    measured, ones = np.zeros((3, instances.ITERATIONS)), np.ones((3, 1))
    each = b2.Judged(drawn, measured, ones, ones, np.ones(1), np.ones(1))
    found = b2._witness({"KL": each, "Burg": each}, measured.size + instances.ITERATIONS + 2)
    assert found["geometry"] == "Burg" and found["iterations"] == 3
    np.testing.assert_array_equal(found["reward"], drawn.reward[1, 0])


@pytest.mark.parametrize("seed", range(3))
def test_bandits_of_the_rates_lead_and_have_no_rare_arms(seed):
    tried = b3._bandits(np.random.default_rng(seed), 500)
    assert np.all(tried.lead >= b3.LEAST_LEAD - 1e-12)
    assert np.all(np.abs(tried.reward) <= 1)
    assert np.exp(tried.log_ref).min() >= b3.LEAST_MASS
    np.testing.assert_allclose(np.exp(tried.log_ref).sum(axis=-1), 1, atol=1e-12)


def test_the_slope_is_that_of_the_geometry_and_of_no_other():
    tried = b3._bandits(np.random.default_rng(0), 20)
    for geometry, expected in ((Tsallis(0.5), -2.0), (Tsallis(0.6), -2.5), (Burg(), -1.0)):
        found, off = b3._slopes(geometry, tried)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert off.max() < 1e-6


def test_a_gamma_that_is_not_the_one_of_exactness_is_noticed():
    tried = b3._bandits(np.random.default_rng(0), 50)
    halfway = np.random.default_rng(1).uniform(5, b3.UPDATES - 5, 50)
    for lazy in (True, False):
        past, before = b3._euclidean(lazy, tried, halfway, 1.0)
        assert past.size and before.size and not past.any() and before.min() > 0
        assert b3._euclidean(lazy, tried, halfway, 0.8)[0].any()
        assert not b3._euclidean(lazy, tried, halfway, 1.2)[1].all()


def test_the_gamma_of_exactness_by_hand():
    reward, reference = jnp.array([[0.5, 0.1, -0.5]]), jnp.array([[0.2, 0.3, 0.5]])
    bandit = Bandit(reward, jnp.log(reference))
    assert float(theory.exact_from(bandit)[0]) == pytest.approx(max(1.1 / 0.4, 1.3 / 1.0))
    policy = theory.exact_policy(bandit, 2.76, Euclidean())
    assert np.exp(policy).tolist() == [[1.0, 0.0, 0.0]]


def planted(ahead: dict[tuple[str, int], float]) -> xr.Dataset:
    """Gaps alike but for noise, with what a geometry has less of it at an N."""
    cells = {"alpha": list(b4.ALPHAS), "samples": list(b4.SAMPLES), "iteration": list(b4.HORIZONS)}
    axes = {"geometry": list(CONTENDERS), **cells}
    seeds = {"seed": np.arange(60)}
    of_gap = {"contest": [OWN, COMMON], **axes, **seeds}
    rng = np.random.default_rng(0)
    gap = xr.DataArray(rng.normal(0.5, 0.01, [len(v) for v in of_gap.values()]), of_gap, [*of_gap])
    for (name, n), less in ahead.items():
        gap.loc[{"geometry": name, "samples": n}] -= less
    of_trial = {"weight": [0.1, 1.0, 10.0], **axes, "trial": np.arange(30)}
    size = [len(v) for v in of_trial.values()]
    tuning = xr.DataArray(rng.normal(0.5, 0.01, size), of_trial, [*of_trial])
    tuning.loc[{"weight": 10.0}] += 1.0
    best = gap.isel(seed=0, drop=True).copy(data=np.ones(gap.shape[:-1]))
    lost = (tuning.copy(data=rng.uniform(size=size)) < 0.2).astype(np.int8)
    return xr.Dataset({"gap": gap, "tuning_gap": tuning, "best": best, "lost": lost, "arms": 10})


def test_the_map_says_where_a_geometry_was_put_ahead(monkeypatch):
    data = planted({("Burg", 300): 0.1, ("Euclidean", 30): -0.1})
    monkeypatch.setattr(b4, "_measured", lambda quick, seed: data)
    found = claims.check("B4")
    assert (found.verdict, found.flaw) == ("depends", None)
    assert found.regions is not None
    yes, no = set(found.regions["yes"]), set(found.regions["no"])
    each = [(t, alpha) for t in b4.HORIZONS for alpha in b4.ALPHAS]
    assert yes == {b4._cell("Burg", 300, t, alpha) for t, alpha in each}
    assert no == {b4._cell("Euclidean", 30, t, alpha) for t, alpha in each}
    assert found.facts["cells better than KL, Burg"] == len(each)
    assert found.facts["cells worse than KL, Euclidean"] == len(each)
    assert found.facts[f"cells surely beaten at its {OWN}, KL"] == len(each)
    assert found.facts["choices of β at an end of the grid"] == 0


def test_geometries_that_are_alike_are_not_told_apart(monkeypatch):
    monkeypatch.setattr(b4, "_measured", lambda quick, seed: planted({}))
    found = claims.check("B4")
    assert (found.verdict, found.flaw) == ("not reproduced", None)
