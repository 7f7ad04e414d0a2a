"""What a table predicts for the study of a transformer, from its N, T and beta alone."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.estimate import Estimate
from apo_sim.momentum import Constant, step_beyond
from apo_sim.preferences import BestAgainstWorst
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.statistics import student
from apo_sim.studies._transformer_contenders import EXPO, Contender

ARMS = 40


def twin() -> Bandit:
    """A prompt with forty equally likely responses, each as good as its win rate over the others.

    Where the best of five is shown with the worst, nothing but the order of the scores counts, so
    that one twin stands for all rankers without ties.

    Example:
        >>> float(twin().reward.mean())
        0.5
    """
    reward = (jnp.arange(ARMS) + 0.5) / ARMS
    return Bandit(reward[None], jnp.full((1, ARMS), -jnp.log(ARMS)))


def predicted(
    contenders: Mapping[str, Contender],
    *,
    samples: int,
    iterations: int,
    beta: float,
    responses: int,
    seeds: int = 64,
) -> dict[str, Estimate]:
    """Win rate over the reference that the table leads to, with its 95 % interval over seeds.

    Of the contenders that a table has: those that fit DPO's loss without a learning rate. All
    meet the same random numbers.

    Args:
        contenders: by name.
        samples: N, pairs an iteration.
        iterations: T.
        beta: proximal weight.
        responses: of which the best is shown with the worst.
        seeds: runs of each.

    Source: ours.

    Example:
        >>> plain = {"DPO": Contender()}
        >>> found = predicted(plain, samples=50, iterations=1, beta=1.0, responses=2, seeds=4)
        >>> 0.5 < found["DPO"].value < 1.0
        True
    """
    ranker = BestAgainstWorst(responses)

    def wins(key, alpha, weights, expo):
        problem = twin()
        solution = run(
            problem,
            momentum=Constant(alpha),
            beta=weights,
            iterations=iterations,
            samples=samples,
            key=key,
            ranker=ranker,
        )
        beyond = step_beyond(solution.final_log_policy, problem.log_ref, expo)
        return jnp.sum(jax.nn.softmax(beyond) * problem.reward)

    # One program for all: plain iteration is extrapolation by nothing.
    every = jax.jit(jax.vmap(wins, in_axes=(0, None, None, None)))
    keys, found = jax.random.split(jax.random.key(0), seeds), {}
    for name, one in contenders.items():
        if one.loss == "DPO" and one.searched:
            weights = jnp.asarray(one.method(beta, iterations)["beta"])
            rates = np.asarray(every(keys, one.alpha, weights, EXPO if one.beyond else 0.0))
            found[name] = Estimate(float(rates.mean()), *student(rates), "win rate", seeds)
    return found
