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
    """Run iterative preference optimisation, accelerated or not.

    Args:
        problem: a `Bandit` or a `Game`.
        loss: what the proximal step fits, see `apo_sim.losses`.
        momentum: what happens between two steps, see `apo_sim.momentum`.
        beta: proximal weight, above 0; a number or one for each iteration, shape (iterations,).
        iterations: T, at least 1.
        samples: N, preference pairs an iteration over all contexts, up to 1e12; None for exact
            preferences.
        key: a `jax.random.key`, or one for each iteration, shape (iterations,); needed with
            `samples`, unused without.
        ranker: how a preference pair comes about, see `apo_sim.preferences`.
        geometry: the Bregman divergence of the proximal step, see `apo_sim.geometry`.
        reward_bound: R of Assumption 4.3 (max r_t - min r_t <= 2 R in each context); 2 by
            default for sampled preferences, 40 (never binding) for exact ones.
        output: "before" for metrics of pi_hat (the paper's method), "after" for metrics of the
            extrapolated pi (ExPO).
        save: "metrics"; add "path" or "average", alone or as a tuple, to keep more.

    Returns:
        A `Solution`. Works inside `jax.jit` and `jax.vmap`, over problems, keys, alpha, beta,
        samples and reward_bound.

    Raises:
        InvalidArgument: anything unusable, named, before compilation.
        Diverged: the policy is not finite any more; with the iteration. (Inside `jax.jit` and
            `jax.vmap` its numbers are NaN from there on.)

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
