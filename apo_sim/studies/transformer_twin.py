"""What a table predicts for the study of a transformer, from its N, T and beta alone."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.preferences import BestAgainstWorst
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.studies.transformer_contenders import EXPO, Contender

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
) -> dict[str, tuple[float, float]]:
    """Win rate over the reference that the table leads to, and half its 95 % interval over seeds.

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
        >>> bool(0.5 < found["DPO"][0] < 1.0)
        True
    """
    keys = jax.random.split(jax.random.key(0), seeds)
    found = {}
    for name, one in contenders.items():
        if one.loss != "DPO" or one.longer:
            continue
        given = one.method(beta, iterations)
        momentum, weights = given["momentum"], jnp.asarray(given["beta"])

        def wins(key, momentum=momentum, weights=weights, beyond=one.beyond):
            problem = twin()
            log_policy = run(
                problem,
                momentum=momentum,
                beta=weights,
                iterations=iterations,
                samples=samples,
                key=key,
                ranker=BestAgainstWorst(responses),
            ).final_log_policy
            if beyond:
                log_policy += EXPO * (log_policy - problem.log_ref)
            return jnp.sum(jax.nn.softmax(log_policy) * problem.reward)

        rates = np.asarray(jax.vmap(wins)(keys))
        half = 1.96 * rates.std(ddof=1) / seeds**0.5
        found[name] = (float(rates.mean()), float(half))
    return found
