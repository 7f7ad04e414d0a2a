"""Rates towards the equilibria of games with a price: planted data are caught."""

import dataclasses
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import root

sys.path.insert(0, str(Path(__file__).parent))
import checked

from apo_sim import claims
from apo_sim.claims import ClaimError, Study, _linear, g1, g2, g3
from apo_sim.claims import _regularised as priced


@pytest.mark.parametrize("arms", [2, 3, 8])
def test_equilibria_are_those_of_scipy(arms):
    drawn = priced.random(np.random.default_rng(0), 5, arms, (0.3, 2.0))
    for preference, log_ref, price, log_found in zip(*drawn, strict=True):

        def residual(logits, preference=preference, log_ref=log_ref, price=price):
            policy = np.exp(logits - np.logaddexp.reduce(logits))
            return logits - log_ref - (preference - 0.5) @ policy / price

        solved = root(residual, log_ref, tol=1e-14).x
        np.testing.assert_allclose(np.exp(solved - np.logaddexp.reduce(solved)), np.exp(log_found))


def test_the_certificate_is_above_the_divergence():
    drawn = priced.random(np.random.default_rng(1), 200, 4)
    off = drawn.log_equilibrium + 0.1 * np.random.default_rng(2).normal(size=(200, 4))
    off -= np.logaddexp.reduce(off, axis=1, keepdims=True)
    with jax.enable_x64(True):
        apart = priced.divergence(jnp.asarray(drawn.log_equilibrium), jnp.asarray(off))
    assert np.all(np.asarray(apart) <= priced.certificate(*drawn[:3], off))
    np.testing.assert_allclose(
        apart,
        np.sum(np.exp(drawn.log_equilibrium) * (drawn.log_equilibrium - off), axis=1),
        atol=1e-15,
    )


def test_an_equilibrium_that_is_not_found_is_no_equilibrium(monkeypatch):
    monkeypatch.setattr(priced, "NEWTON", 1)
    with pytest.raises(ClaimError, match="only to within a divergence of"):
        priced.random(np.random.default_rng(0), 20, 3)


def slowed(rate, share):
    """The rate of a method whose KL falls at a share of the speed."""

    def left(game, step, iterations):
        kl = rate.left(game, step, iterations)
        return kl[0] * (kl / kl[0]) ** share

    return dataclasses.replace(rate, left=left, multiples=(1.0,))


@pytest.mark.parametrize("module", [pytest.param(m, marks=checked.group("G1")) for m in (g1, g2)])
def test_a_method_at_half_its_speed_is_caught_with_its_game(module, monkeypatch):
    monkeypatch.setattr(_linear, "STEPS", 12)
    study = Study(module.__name__[-2:].upper())
    found = _linear.judged(study, slowed(module.RATE, 0.5))
    assert found.verdict == "fails" and found.counterexample is not None
    game = [np.asarray(found.counterexample[n]) for n in ("preference", "reference", "price")]
    again = priced.games(game[0][None], np.log(game[1])[None], game[2][None])
    np.testing.assert_allclose(
        np.exp(again.log_equilibrium[0]), found.counterexample["equilibrium"]
    )
    step, after = found.counterexample["learning_rate"], found.counterexample["steps"]
    one = jax.tree.map(lambda field: jnp.asarray(field[0]), again)
    kl = np.asarray(module.RATE.left(one, step, 12))
    share = np.sqrt(kl[after] / kl[0])
    assert share > module.RATE.factor(step, game[2]) ** after
    assert share * kl[0] == pytest.approx(found.measured)


@pytest.fixture
def falling():
    return g3._falling(Study("G3"))


@checked.group("G3")
def test_the_bound_and_the_limit_of_nash_md_are_judged(falling):
    assert g3.judged_limit(falling).verdict == "holds"
    for planted in (0.95 * falling.scaled, 1.05 * falling.scaled):
        assert g3.judged_limit(dataclasses.replace(falling, scaled=planted)).verdict == "fails"
    above = falling.scaled.copy()
    above[7, 30] = 8.1 / 32
    runs = dataclasses.replace(falling, scaled=above)
    found = g3.judged_bound(runs)
    assert found.verdict == "fails" and found.counterexample is not None
    assert found.counterexample["updates"] == 31
    np.testing.assert_array_equal(found.counterexample["preference"], runs.games[0].preference[7])


def test_the_limit_is_at_most_that_of_the_variance():
    drawn = priced.random(np.random.default_rng(3), 500, 5)
    gain = drawn.log_equilibrium - drawn.log_ref
    policy = np.exp(drawn.log_equilibrium)
    mean = np.sum(policy * gain, axis=1, keepdims=True)
    variance = np.sum(policy * (gain - mean) ** 2, axis=1)
    assert np.all(g3.limit(drawn) <= 2 * variance + 1e-12)
    assert np.all(g3.limit(drawn) <= 1 / (2 * drawn.price**2))


@pytest.mark.parametrize("id", [checked.of_group(id) for id in ("G1", "G2", "G3")])
def test_another_seed_finds_the_same(id):
    verdict, other = checked.check(id), claims.check(id, seed=1)
    assert verdict.flaw is None and other.flaw is None
    assert verdict.verdict == other.verdict == "holds"
    assert verdict.ratio == pytest.approx(other.ratio, rel=0.02)
