"""Advice from the law of leading order: what it rests on, and where it is not taken."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.advice import _law
from apo_sim.advice._setting import Draws, Setting
from apo_sim.registry import FAMILIES
from apo_sim.theory.leading_order import leading_order

GIVEN = {"samples": 5000, "iterations": 3, "beta": 5.0}
PROBLEM = apo.Bandit(jnp.array([[0.8, 0.1, -0.6]]), jnp.log(jnp.array([[0.2, 0.3, 0.5]])))


@pytest.fixture(scope="module")
def advice() -> apo.Advice:
    return apo.advise(**GIVEN, problem=PROBLEM)


@pytest.fixture(scope="module")
def gap_at_the_end():
    """What the law expects of extrapolations and betas (paths, 3), from one program."""

    @jax.jit
    @jax.vmap
    def at(alphas, betas):
        found = leading_order(PROBLEM, apo.Schedule(alphas), betas, 3)
        return found.expected_gap(float(GIVEN["samples"]))[-1]

    def of(alphas, betas):
        # Filled up to one number of paths, so that it is compiled once.
        alphas, betas = np.broadcast_arrays(alphas, betas)
        fill = ((0, 8 - len(alphas)), (0, 0))
        return np.asarray(at(np.pad(alphas, fill), np.pad(betas, fill, mode="edge")))[: len(alphas)]

    return of


def test_its_figures_are_those_of_the_law(advice, gap_at_the_end):
    alphas = advice.table.alpha.values
    assert advice.source == "the leading-order law in 1/N for your problem, without a run"
    momentum = gap_at_the_end(np.tile(alphas[:, None], 3), np.full((6, 3), 5.0))
    np.testing.assert_allclose(advice.table.gap, momentum, rtol=1e-9)
    betas = np.array([apo.theory.matched_beta(alpha, 5.0, 3) for alpha in alphas])
    plain = gap_at_the_end(np.zeros((6, 3)), betas)
    np.testing.assert_allclose(advice.table.over_matched, 1 - momentum / plain, atol=1e-9)
    assert advice.sure and advice.alpha == alphas[int(np.argmin(momentum))]
    # A single problem has no scatter; what is left is the law's own error.
    np.testing.assert_allclose(advice.table.gap_half, _law.OFF, atol=1e-9)


def test_the_best_beta_is_the_least_gap_on_the_grid(advice, gap_at_the_end):
    betas = 5.0 * np.array(_law.BETA_FACTORS)
    t = np.arange(1.0, 4.0)
    rules = {
        f"alpha = {advice.alpha:g}": np.full(3, advice.alpha),
        "no momentum": np.zeros(3),
        "Nesterov's schedule": t / (t + 3),
    }
    assert [best.rule for best in advice.retuned] == list(rules)
    for best in advice.retuned:
        gaps = gap_at_the_end(np.tile(rules[best.rule], (8, 1)), np.tile(betas[:, None], 3))
        place = betas.tolist().index(best.beta)
        assert best.gap == pytest.approx(gaps[place], rel=1e-9)
        # Whatever is left out on the side of smaller betas, it says so.
        assert best.gap <= gaps[place:].min() + 1e-12
        assert best.at_edge or best.gap <= gaps[:place].min(initial=np.inf)
        assert str(best) in str(advice)


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 29},  # too few to ask
        {"samples": 300, "beta": 0.05},  # the next order is not small
        {"arms": 200},  # too slow
        {"arms": 3, "iterations": 4000},  # too slow
    ],
    ids=str,
)
def test_it_does_not_answer_where_it_does_not_decide(change):
    setting = Setting(**{**GIVEN, "arms": 3, "spread": 1.0, "contexts": 1, **change})
    own = FAMILIES.chosen(lambda key, contexts, arms: PROBLEM)
    assert _law.by_law(Draws(setting, own, fixed=True)) is None


@pytest.mark.parametrize("family", ["transitive", "rock_paper_scissors", "tied"])
def test_what_has_no_law_is_left_to_others(family):
    # A game; one that refuses this number of arms; one that has no spread.
    setting = Setting(5000, 3, 5.0, 4, 0.5, 1)
    assert _law.by_law(Draws(setting, FAMILIES.chosen(family))) is None


def test_what_is_asked_decides_who_answers(monkeypatch):
    # The package has a function of that name.
    module = importlib.import_module("apo_sim.advice.advise")
    asked = []
    setting = Setting(5000, 3, 5.0, 10, 1.0, 1)
    stored = module.stored(setting)
    monkeypatch.setattr(module, "by_law", lambda draws: asked.append("law"))
    monkeypatch.setattr(module, "stored", lambda setting: asked.append("stored") or stored)
    for name in ("simulated", "simulated_until_clear"):
        monkeypatch.setattr(module, name, lambda *_, name=name: asked.append(name) or stored)
    expected = [
        ({}, ["law", "stored"]),
        ({"family": "zipf"}, ["law", "simulated_until_clear"]),
        ({"problem": PROBLEM}, ["law", "simulated_until_clear"]),
        ({"family": "zipf", "simulate": 400}, ["simulated"]),
    ]
    for given, names in expected:
        asked.clear()
        apo.advise(**GIVEN, **given)
        assert asked == names


def test_a_problem_of_equal_arms_is_no_matter():
    flat = dataclasses.replace(PROBLEM, reward=0.0 * PROBLEM.reward)
    advice = apo.advise(**GIVEN, problem=flat)
    assert advice.kind == "any" and advice.gap[0] == 0.0
