"""Momentum on top of any method: the paper's on NPG, and only who collects data on RLHF."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim import methods
from apo_sim.methods import Accelerated

sys.path.insert(0, str(Path(__file__).parent))
from rewards_by_hand import a_bandit, check_continued

BANDIT = a_bandit()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9])
def test_on_the_natural_policy_gradient_it_is_the_papers_method(alpha):
    rates = jnp.array([0.5, 2.0, 0.3, 1.1, 0.8])
    momentum = apo.Constant(alpha)
    found = apo.solve(
        BANDIT, Accelerated(methods.NPG(rates), momentum), iterations=5, save="path"
    ).path
    paper = apo.run(BANDIT, momentum=momentum, beta=1.0 / rates, iterations=5, save="path").path
    np.testing.assert_allclose(found.log_policy, paper.log_policy, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.behaviour, paper.behaviour, rtol=1e-12, atol=1e-12)


def test_on_optimistic_descent_by_hand():
    """Each step sets out from the extrapolated policy and sees its win rates."""
    game = apo.families.rock_paper_scissors(0.8, log_ref=jnp.log(jnp.array([[0.6, 0.3, 0.1]])))
    eta, alpha = 0.7, 0.4
    policy = judged = last_judged = np.exp(np.asarray(game.log_ref[0]))
    before = None
    for _ in range(4):
        rates = np.asarray(game.preference[0]) @ policy
        step = 2 * rates - (rates if before is None else before)
        judged = policy * np.exp(eta * step)
        judged /= judged.sum()
        beyond = judged * (judged / last_judged) ** alpha
        policy, last_judged, before = beyond / beyond.sum(), judged, rates
    method = Accelerated(methods.OptimisticMD(eta), apo.Constant(alpha))
    found = apo.solve(game, method, iterations=4)
    np.testing.assert_allclose(jnp.exp(found.final_log_policy[0]), judged, rtol=1e-12)
    np.testing.assert_allclose(jnp.exp(found.final_behaviour[0]), policy, rtol=1e-12)


def test_where_all_data_are_fitted_anew_it_changes_only_who_collects_them():
    """With exact data of all arms, whoever collects them, the fit is the same."""
    rlhf = methods.RLHF(beta=0.5, online=True)
    plain, moved = (
        apo.solve(BANDIT, method, iterations=3, save="path").path
        for method in (rlhf, Accelerated(rlhf, apo.Constant(0.9)))
    )
    np.testing.assert_allclose(moved.log_policy, plain.log_policy, atol=1e-5)
    assert float(jnp.max(jnp.abs(moved.behaviour[-1] - plain.behaviour[-1]))) < 1e-4
    # The first change of the policy is prolonged, and there is none after it.
    assert float(jnp.max(jnp.abs(moved.behaviour[1] - plain.behaviour[1]))) > 0.1


# One for each way to hold a state that no other test moves, and one that keeps all data.
@pytest.mark.parametrize(
    "method",
    [
        methods.NashMD(),
        methods.MagneticMD(),
        methods.XPO(),
        methods.PPO(methods.FittedReward()),
    ],
    ids=lambda method: type(method).__name__,
)
def test_without_extrapolation_it_is_the_method(method):
    plain = apo.solve(BANDIT, method, iterations=3, save="path").path
    found = apo.solve(
        BANDIT, Accelerated(method, apo.Constant(0.0)), iterations=3, save="path"
    ).path
    np.testing.assert_allclose(found.log_policy, plain.log_policy, atol=1e-12)
    np.testing.assert_allclose(found.behaviour, plain.behaviour, atol=1e-12)


def test_continued_and_mapped():
    method = Accelerated(methods.NPG(0.7, methods.FittedReward()), apo.Constant(0.5))
    check_continued(BANDIT, method, 300)

    @jax.jit
    @jax.vmap
    def gap(alpha):
        accelerated = Accelerated(methods.NPG(0.7), apo.Constant(alpha))
        return apo.solve(BANDIT, accelerated, iterations=3).suboptimality[-1]

    alphas = jnp.array([0.0, 0.5])
    single = [
        apo.solve(
            BANDIT, Accelerated(methods.NPG(0.7), apo.Constant(float(a))), iterations=3
        ).suboptimality[-1]
        for a in alphas
    ]
    np.testing.assert_allclose(gap(alphas), jnp.stack(single), rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Accelerated(apo.methods.Proximal()), "method"),
        (lambda: Accelerated(methods.EGPO()), "method"),
        (lambda: Accelerated(methods.NPG), "method"),  # pyright: ignore[reportArgumentType]
        (lambda: Accelerated(methods.NPG(), 0.3), "momentum"),  # pyright: ignore
    ],
)
def test_what_cannot_be_moved_is_refused(make, named):
    with pytest.raises(apo.InvalidArgument, match=named):
        make()


def test_a_schedule_of_the_wrong_length_and_a_source_that_a_game_has_not():
    short = Accelerated(methods.NPG(), apo.Schedule(jnp.array([0.1, 0.2])))
    with pytest.raises(apo.InvalidArgument, match="alphas"):
        apo.solve(BANDIT, short, iterations=3)
    game = apo.families.rock_paper_scissors(0.8)
    with pytest.raises(apo.InvalidArgument, match="source"):
        apo.solve(game, Accelerated(methods.PPO()), iterations=2)
