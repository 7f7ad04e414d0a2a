"""The proximal method on a table, in one call."""

from typing import Any

from jaxtyping import Array, Key

from apo_sim.arguments import as_beta_schedule
from apo_sim.checks import as_count
from apo_sim.geometry import KL, Geometry
from apo_sim.loop import Solution, solve
from apo_sim.losses import DPO, Loss
from apo_sim.methods import OnTable, Proximal
from apo_sim.momentum import Momentum, NoMomentum
from apo_sim.preferences import Pairwise, Ranker
from apo_sim.problems import PROBLEM, Problem
from apo_sim.self_checking import checks_itself


@checks_itself
def run(
    problem: Problem,
    loss: Loss = DPO(),
    momentum: Momentum = NoMomentum(),
    *,
    beta: Any,
    iterations: int,
    samples: Any = None,
    key: Key[Array, "..."] | None = None,
    ranker: Ranker = Pairwise(),
    geometry: Geometry = KL(),
    reward_bound: Any = None,
    output: str = "before",
    save: str | tuple[str, ...] = "metrics",
) -> Solution:
    """Run iterative preference optimisation, with or without momentum.

    Args:
        problem: a `Bandit` or a `Game`.
        loss: the loss that the proximal step minimises, see `apo_sim.losses`.
        momentum: the rule that extrapolates between two steps, see `apo_sim.momentum`.
        beta: proximal weight, above 0; one number, or one for each iteration, shape (iterations,).
        iterations: number of iterations T, at least 1.
        samples: number N of preference pairs per iteration, over all contexts, up to 1e12; None
            for exact preferences.
        key: a `jax.random.key`, or one for each iteration, shape (iterations,); required with
            `samples`, otherwise unused.
        ranker: how pairs are drawn and labelled, see `apo_sim.preferences`.
        geometry: the Bregman divergence of the proximal step, see `apo_sim.geometry`.
        reward_bound: R of Assumption 4.3 (max r_t - min r_t <= 2 R in each context); the default
            is 2 for sampled preferences and 40 (never binding) for exact ones.
        output: "before" to measure pi_hat (the paper's method), "after" to measure the extrapolated
            pi (ExPO).
        save: "metrics", "path" or "average", or a tuple of these; the metrics are always kept.

    Returns:
        A `Solution`. The function works inside `jax.jit` and `jax.vmap`, over problems, keys,
        alpha, beta, samples and reward_bound.

    Raises:
        InvalidArgument: an argument is unusable; raised before compilation, with its name.
        Diverged: the policy is no longer finite; the error gives the iteration. Inside `jax.jit`
            and `jax.vmap`, results are NaN from that iteration on.

    Source: the paper's Algorithm 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import apo_sim as apo
        >>> bandit = apo.Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> plain = apo.run(bandit, beta=1.0, iterations=3)
        >>> faster = apo.run(bandit, momentum=apo.Constant(0.5), beta=1.0, iterations=3)
        >>> bool(faster.suboptimality[-1] < plain.suboptimality[-1])
        True
    """
    PROBLEM("problem", problem)
    betas = as_beta_schedule(beta, as_count("iterations", iterations), problem)
    fit = OnTable(reward_bound, output)
    method = Proximal(loss, momentum, geometry, betas, ranker, fit)
    return solve(problem, method, iterations=iterations, samples=samples, key=key, save=save)
