"""The outer loop: proximal step, extrapolation, metrics, `iterations` times in one scan."""

import functools
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from apo_sim.arguments import (
    as_beta_schedule,
    as_samples,
    check_bound,
    check_differences_only,
    check_parts,
)
from apo_sim.checks import as_count, check_positive, check_room, check_single, concrete, one_of
from apo_sim.errors import Diverged
from apo_sim.losses import DPO, Loss
from apo_sim.momentum import Momentum, NoMomentum
from apo_sim.preferences import Pairwise, Ranker, win_counts
from apo_sim.problems import LogPolicy, Problem, expected_gap
from apo_sim.proximal import (
    EXACT_REWARD_BOUND,
    SAMPLED_REWARD_BOUND,
    exact_rewards,
    rewards_from_counts,
)
from apo_sim.pytree import hidden, like, pytree_dataclass, revealed

SAVE = ("metrics", "path", "average")
OUTPUT = ("before", "after")
# Arrays of the size of a path, or of a series, that a run keeps.
_KEPT_ARRAYS = 6

Series = Float[Array, " iterations"]
Path = Float[Array, "points contexts arms"]


@pytree_dataclass
class Solution:
    """What a run leaves behind. T iterations, X contexts, K arms.

    Attributes:
        suboptimality: gap of pi_hat_1 ... pi_hat_T, expectation over contexts, shape (T,), in
            units of the reward (of a game: its exploitability, a probability).
        tv: total variation of pi_hat_1 ... pi_hat_T to the optimal policy, shape (T,).
        gamma: total weight on a constant reward after each update, in 1/beta, shape (T,); the
            momentum rule's own, found by running it on that reward.
        residual: of the solver of the proximal step in each iteration, shape (T,); 0 where the
            step has a closed form.
        final_log_policy: log pi_hat_T, shape (X, K).
        final_behaviour: log pi_T, shape (X, K).
        log_policy: log pi_hat_0 ... pi_hat_T, shape (T+1, X, K), with save="path".
        behaviour: log pi_0 ... pi_T, shape (T+1, X, K), with save="path".
        rewards: r_0 ... r_{T-1}, each up to a constant in y, shape (T, X, K), with save="path".
        average_suboptimality: gap of the average of pi_hat_1 ... pi_hat_t for every t, shape
            (T,), with save="average".
    """

    suboptimality: Series
    tv: Series
    gamma: Series
    residual: Series
    final_log_policy: LogPolicy
    final_behaviour: LogPolicy
    log_policy: Path | None = None
    behaviour: Path | None = None
    rewards: Path | None = None
    average_suboptimality: Series | None = None


@no_type_check  # every argument is checked below, with a message that names it
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
        ranker: how a sampled pair comes about, see `apo_sim.preferences`.
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
    iterations = as_count("iterations", iterations)
    check_parts(problem, loss, momentum, ranker, iterations)
    betas = as_beta_schedule(beta, iterations, problem)
    samples = as_samples(samples, key, iterations, betas.dtype)
    if reward_bound is None:
        reward_bound = EXACT_REWARD_BOUND if samples is None else SAMPLED_REWARD_BOUND
    else:
        check_single("reward_bound", reward_bound, "pass one number above 0")
        check_positive("reward_bound", reward_bound)
        check_bound(loss, reward_bound, betas.dtype)
    output = one_of(OUTPUT)("output", output)
    kept = frozenset(one_of(SAVE)("save", name) for name in _listed(save))
    if not hasattr(loss, "empirical_rewards"):
        check_differences_only(loss)
    check_room("iterations", iterations, _kept_shape(problem, iterations, kept), _KEPT_ARRAYS)
    solution = _run(
        problem,
        hidden(loss, "loss"),
        hidden(momentum, "momentum"),
        hidden(ranker, "ranker"),
        betas,
        None if samples is None else (jnp.asarray(samples, betas.dtype), key),
        jnp.asarray(reward_bound, betas.dtype),
        output=output,
        kept=kept,
    )
    _refuse_divergence(solution, beta)
    return solution


def _listed(save: Any) -> Any:
    return save if isinstance(save, tuple | list) else (save,)


def _kept_shape(problem: Problem, iterations: int, kept: frozenset[str]) -> tuple[int, ...]:
    return (iterations, *problem.log_ref.shape) if "path" in kept else (iterations,)


def _refuse_divergence(solution: Solution, beta: Any) -> None:
    """A policy that is no longer finite ends the run, where its numbers are known."""
    found = (concrete(s) for s in (solution.suboptimality, solution.tv, solution.gamma))
    series = [values for values in found if values is not None]
    if not series:
        return
    finite = np.all(np.isfinite(np.stack(series)), axis=0)
    if not finite.all():
        raise Diverged(
            "beta",
            beta,
            int(np.argmin(finite)) + 1,
            "raise it, extrapolate less, run fewer iterations or in double precision; or look at "
            "what a loss, rule or ranker of your own returns",
        )


@functools.partial(jax.jit, static_argnames=("output", "kept"))
def _run(problem, loss, momentum, ranker, betas, data, reward_bound, *, output, kept) -> Solution:
    loss, momentum, ranker = revealed(loss), revealed(momentum), revealed(ranker)

    def learn(centre, beta, t):
        if data is None:
            return exact_rewards(loss, problem, centre, reward_bound)
        samples, key = data
        cells = ranker.cells(problem, centre)
        key = key[t] if key.ndim else jax.random.fold_in(key, t)
        wins = win_counts(key, cells, problem.context_probs, samples)
        return rewards_from_counts(loss, wins.astype(centre.dtype), centre, beta, reward_bound)

    def update(state, inputs):
        t, beta = inputs
        behaviour, behaviour_gamma, momentum_state, average = state
        # Normalised only where somebody looks: the exact step of a bandit never does.
        centre = jax.nn.log_softmax(behaviour, axis=1)
        rewards, residual = like(learn(centre, beta, t), (centre, beta))
        # A constant reward of one runs along, so that gamma is what the rule really did.
        log_policy, *weights = _normalise(behaviour + rewards / beta)
        gamma = behaviour_gamma + 1.0 / beta
        extrapolated, momentum_state = like(
            momentum.extrapolate((log_policy, gamma), momentum_state, t + 1),
            ((log_policy, gamma), momentum_state),
        )
        if output == "after":
            _, *weights = _normalise(extrapolated[0])
        shown, total = weights
        share = problem.context_probs / total
        out = {
            "suboptimality": expected_gap(share, problem.suboptimality_of(shown)),
            "tv": share @ problem.mass_off_best_of(shown),
            "gamma": gamma if output == "before" else extrapolated[1],
            "residual": residual,
        }
        if "average" in kept:
            average = average + (shown / total[:, None] - average) / (t + 1)
            gaps = problem.suboptimality_of(average)
            out["average_suboptimality"] = expected_gap(problem.context_probs, gaps)
        if "path" in kept:
            out["log_policy"], out["rewards"] = log_policy, rewards
            out["behaviour"] = jax.nn.log_softmax(extrapolated[0], axis=1)
        return (*extrapolated, momentum_state, average), (log_policy, out)

    reference = jax.nn.log_softmax(problem.log_ref, axis=1).astype(betas.dtype)
    zero = jnp.zeros((), betas.dtype)
    start = (
        reference,
        zero,
        momentum.init((reference, zero)),
        jnp.zeros_like(reference) if "average" in kept else None,
    )
    steps = jnp.arange(betas.shape[0])
    return _scan(update, start, (steps, betas), reference)


def _scan(update, start, inputs, reference) -> Solution:
    def step(carry, x):
        (state, _) = carry
        state, (log_policy, out) = update(state, x)
        return (state, log_policy), out

    (state, last), out = jax.lax.scan(step, (start, reference), inputs)
    for name in ("log_policy", "behaviour"):
        if name in out:
            out[name] = jnp.concatenate([reference[None], out[name]])
    behaviour = jax.nn.log_softmax(state[0], axis=1)
    return Solution(final_log_policy=last, final_behaviour=behaviour, **out)


def _normalise(log_weights):
    """log_softmax, and softmax as weights and their total: one exponential, no division."""
    shifted = log_weights - jnp.max(log_weights, axis=1, keepdims=True)
    weights = jnp.exp(shifted)
    # A product with ones, because a reduction along an array's last axis is not vectorised.
    total = weights @ jnp.ones(weights.shape[1], weights.dtype)
    return shifted - jnp.log(total)[:, None], weights, total
