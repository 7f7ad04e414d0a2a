"""The outer loop for parameterised policies: proximal steps by gradient, momentum in a space."""

import functools
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from apo_sim.arguments import (
    as_beta_schedule,
    as_samples,
    check_parts,
)
from apo_sim.checks import as_array, as_count, check_key, concrete, one_of
from apo_sim.errors import Diverged, InvalidArgument
from apo_sim.losses import DPO, Loss
from apo_sim.momentum import Momentum, NoMomentum
from apo_sim.policies import Policy, SequencePolicy
from apo_sim.preferences import Pairwise, Ranker, draw_pairs, win_counts
from apo_sim.problems import LogPolicy, Problem, expected_gap
from apo_sim.proximal.by_gradient import STEP, ByGradient
from apo_sim.proximal.expected_loss import Counts, Pairs, Population
from apo_sim.pytree import hidden, like, pytree_dataclass, revealed
from apo_sim.spaces import InParameters, InTokens, Space
from apo_sim.spaces.base import log_policy_of

SAVE = ("metrics", "path")
SERIES = (
    "suboptimality",
    "behaviour_suboptimality",
    "tv",
    "kl_to_exact",
    "tv_to_exact",
    "moved",
    "loss_before",
    "loss_after",
    "gradient",
    "steps",
)
# An inner training that ends with so many times the loss that it began with has not trained.
RUNAWAY = 10.0

Series = Float[Array, " iterations"]
Path = Float[Array, "points contexts arms"]


class TrainingDiverged(Diverged):
    """An inner training whose loss grew beyond bounds, or is no number any more."""

    def __init__(self, step: object, iteration: int):
        super().__init__(
            "step",
            step,
            iteration,
            "lower the learning rate, or clip: optax.chain(optax.clip_by_global_norm(1.0), ...)",
        )

    def __reduce__(self) -> tuple:
        return type(self), (self.value, self.iteration)


@pytree_dataclass
class TrainingState:
    """Where a training stands: what `train` needs to go on. X contexts, K arms.

    Attributes:
        t: updates made.
        params: of the proximal centre, the network after extrapolation.
        offset: added to its log-probabilities, shape (X, K).
        log_policy: log pi_hat_t, shape (X, K).
        behaviour: log pi_t, shape (X, K).
        momentum: state of the rule on what its space works on.
        reference: state of the rule on log-probabilities, which the exact (3.6) is taken from.
        optimizer: state of the optimiser where it is kept, else None.
        diverged: first iteration whose inner training diverged, 0 for none.
        key: all further randomness is folded from it.
    """

    t: Int[Array, ""]
    params: Any
    offset: LogPolicy
    log_policy: LogPolicy
    behaviour: LogPolicy
    momentum: Any
    reference: Any
    optimizer: Any
    diverged: Int[Array, ""]
    key: Key[Array, ""]


@pytree_dataclass
class Training:
    """What a training leaves behind. T iterations, X contexts, K arms.

    Attributes:
        suboptimality: gap of pi_hat_1 ... pi_hat_T, shape (T,), in units of the reward.
        behaviour_suboptimality: gap of pi_1 ... pi_T, after extrapolation, shape (T,).
        tv: total variation of pi_hat_1 ... pi_hat_T to the optimal policy, shape (T,).
        kl_to_exact: KL divergence, in nats, of the policy after extrapolation from the exact
            extrapolation (3.6) of the same pi_hat, shape (T,); 0 where log-probabilities are
            extrapolated.
        tv_to_exact: total variation between the same two, shape (T,).
        moved: KL divergence of pi_hat_{t+1} from its proximal centre, in nats, shape (T,).
        loss_before: the loss at the proximal centre, shape (T,).
        loss_after: the loss of the same data where the inner training ended, shape (T,).
        gradient: norm of the gradient before the last inner step, shape (T,).
        steps: inner steps taken, shape (T,).
        state: where the training stands; pass it on to continue.
        log_policy: log pi_hat_0 ... pi_hat_T, shape (T+1, X, K), with save="path".
        behaviour: log pi_0 ... pi_T, shape (T+1, X, K), with save="path".
    """

    suboptimality: Series
    behaviour_suboptimality: Series
    tv: Series
    kl_to_exact: Series
    tv_to_exact: Series
    moved: Series
    loss_before: Series
    loss_after: Series
    gradient: Series
    steps: Int[Array, " iterations"]
    state: TrainingState
    log_policy: Path | None = None
    behaviour: Path | None = None


@no_type_check  # every argument is checked below, with a message that names it
def train(
    problem: Problem,
    policy: Policy,
    loss: Loss = DPO(),
    momentum: Momentum = NoMomentum(),
    *,
    beta: Any,
    iterations: int,
    key: Key[Array, ""] | None = None,
    samples: Any = None,
    ranker: Ranker = Pairwise(),
    step: ByGradient = ByGradient(),
    space: Space = InParameters(),
    params: Any = None,
    state: TrainingState | None = None,
    save: str = "metrics",
) -> Training:
    """Run iterative preference optimisation of a parameterised policy.

    The same method as `run`, with the same losses and rules: every proximal step minimises the
    loss over parameters by gradient, and momentum acts where `space` says. The run starts at the
    reference policy of the problem: if the network starts elsewhere, the difference of the
    log-probabilities stays with it as an offset. To let the network be the reference, set
    `log_ref=policy.log_prob(params)` and pass the same `params`.

    Args:
        problem: a `Bandit` or a `Game`.
        policy: see `apo_sim.policies`.
        loss: what the proximal step fits.
        momentum: the rule, see `apo_sim.momentum`.
        beta: proximal weight, above 0; a number or one for each iteration, shape (iterations,).
        iterations: T, at least 1.
        key: a `jax.random.key`, for parameters and data.
        samples: N, preference pairs an iteration; None for exact preferences, the mean over all
            pairs that the policy can draw.
        ranker: how a sampled pair comes about.
        step: the inner training.
        space: where momentum acts, see `apo_sim.spaces`.
        params: to start from; None: drawn from `key`.
        state: of a `Training` to continue with the same other arguments, in place of `key` and
            `params`; the result is as if it had never been interrupted.
        save: "metrics", or "path" to keep the policies.

    Returns:
        A `Training`. Works inside `jax.jit` and `jax.vmap`, over problems, keys, parameters,
        alpha, beta and the optimiser's settings; there, a run that diverges stops learning and
        says so in `state.diverged`.

    Raises:
        TrainingDiverged: the loss of an inner training is no number, or ten times what it was.
        InvalidArgument: anything unusable, named, before compilation.

    Source: the paper's Algorithm 1 with its section 5.2.

    Example:
        >>> from apo_sim import Bandit, Constant, SGD
        >>> from apo_sim.policies import LogLinear
        >>> bandit = Bandit(jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.5, 0.5]])))
        >>> policy, step = LogLinear(jnp.array([[[1.0], [0.0]]])), ByGradient(SGD(1.0), steps=500)
        >>> rule = Constant(0.5)
        >>> found = train(
        ...     bandit,
        ...     policy,
        ...     DPO(),
        ...     rule,
        ...     beta=1.0,
        ...     iterations=3,
        ...     step=step,
        ...     key=jax.random.key(0),
        ... )
        >>> [round(float(gap), 3) for gap in found.suboptimality]  # of a table: 1/(1+e^gamma)
        [0.269, 0.076, 0.014]
    """
    iterations = as_count("iterations", iterations)
    if state is not None and not isinstance(state, TrainingState):
        raise InvalidArgument("state", state, "is no state", "pass the state of a Training")
    done = None if state is None else concrete(state.t)
    check_parts(problem, loss, momentum, ranker, iterations, 0 if done is None else int(done))
    _check_networks(problem, policy, step, space, params)
    betas = as_beta_schedule(beta, iterations, problem)
    save = one_of(SAVE)("save", save)
    if state is None:
        check_key("key", key)
    samples = as_samples(samples, key if state is None else state.key, iterations)
    if samples is not None and concrete(samples) is None:
        raise InvalidArgument("samples", samples, "is traced", "pass a plain integer")
    if step.batch is not None and samples is None:
        raise InvalidArgument(
            "batch", step.batch, "needs sampled pairs", "pass samples, or leave out batch"
        )
    if state is None:
        state = start(problem, policy, momentum, step, space, key, params)
    found = advance(
        problem,
        policy,
        loss,
        momentum,
        ranker,
        step,
        space,
        betas,
        state,
        samples=samples,
        path=save == "path",
    )
    diverged = concrete(found.state.diverged)
    if diverged is not None and diverged.any():
        raise TrainingDiverged(step.optimizer, int(diverged))
    return found


def start(
    problem: Problem,
    policy: Policy,
    momentum: Momentum,
    step: ByGradient,
    space: Space,
    key: Key[Array, ""],
    params: Any = None,
) -> TrainingState:
    """The state before the first iteration of `train`, whose arguments these are."""
    to_params, to_data = jax.random.split(key)
    if params is None:
        params = policy.init(to_params)
    reference = jax.nn.log_softmax(problem.log_ref, axis=1)
    offset = like(reference - policy.log_prob(params), reference)
    none = jnp.zeros((), int)
    return TrainingState(
        t=none,
        params=params,
        offset=offset,
        log_policy=reference,
        behaviour=reference,
        momentum=space.init(policy, momentum, params, offset),
        reference=momentum.init(reference),
        optimizer=step.optimizer.init(params) if step.keep_state else None,
        diverged=none,
        key=to_data,
    )


def advance(
    problem, policy, loss, momentum, ranker, step, space, betas, state, *, samples, path
) -> Training:
    """As many iterations of `train` as there are `betas`, from a state."""
    objects = {
        "policy": policy,
        "loss": loss,
        "momentum": momentum,
        "ranker": ranker,
        "space": space,
    }
    boxed = {name: hidden(value, name) for name, value in objects.items()}
    return _advance(problem, boxed, step, betas, state, samples=samples, path=path)


@functools.partial(jax.jit, static_argnames=("samples", "path"))
def _advance(problem, boxed, step, betas, state, *, samples, path) -> Training:
    policy, loss, momentum, ranker, space = (
        revealed(boxed[name]) for name in ("policy", "loss", "momentum", "ranker", "space")
    )

    def update(state, beta):
        data: Any = _data(problem, ranker, state, beta, samples, step.batch)

        def objective(params, number):
            log_policy = log_policy_of(policy, params, state.offset)
            scores = beta * (log_policy - state.behaviour)
            part = data if step.batch is None else data.batch(number, step.batch)
            return part.mean(loss, scores)

        params, optimizer, report = step.minimise(objective, state.params, state.optimizer)
        log_policy = log_policy_of(policy, params, state.offset)
        t = state.t + 1
        extrapolated, offset, rule = space.extrapolate(
            policy, momentum, params, state.offset, state.momentum, t
        )
        behaviour = log_policy_of(policy, extrapolated, offset)
        exact, reference = like(
            momentum.extrapolate(log_policy, state.reference, t), (log_policy, state.reference)
        )
        new = TrainingState(
            t=t,
            params=extrapolated,
            offset=offset,
            log_policy=log_policy,
            behaviour=behaviour,
            momentum=rule,
            reference=reference,
            optimizer=optimizer if step.keep_state else None,
            diverged=state.diverged,
            key=state.key,
        )
        sane = (state.diverged == 0) & _went_well(report, new)
        kept = _select(sane, new, state)
        out = _gaps(problem, kept)
        # What diverged is reported by the state; its distances and losses are no numbers.
        apart = _distances(problem, jax.nn.log_softmax(exact, axis=1), state, new)
        for name, value in {**apart, **_of_report(report)}.items():
            out[name] = jnp.where(sane, value, 0)
        if path:
            out["log_policy"], out["behaviour"] = kept.log_policy, kept.behaviour
        return kept, out

    last, out = jax.lax.scan(update, state, betas)
    if path:
        for name in ("log_policy", "behaviour"):
            out[name] = jnp.concatenate([getattr(state, name)[None], out[name]])
    return Training(**out, state=last)


def _data(problem, ranker, state, beta, samples, batch):
    """The preference data of an iteration, and what the loss may need beside them."""
    centre = state.behaviour
    win_rate = problem.win_rate(centre)
    log_z = jax.nn.logsumexp(centre + win_rate / beta, axis=1, keepdims=True)
    if samples is None:
        return Population(problem, centre, win_rate, beta * log_z)
    key = jax.random.fold_in(state.key, state.t)
    if batch is None and samples > problem.num_arms**2:
        cells = ranker.cells(problem, centre)
        wins = win_counts(key, cells, problem.context_probs, samples).astype(centre.dtype)
        return Counts(wins, beta * log_z)
    return Pairs(*draw_pairs(key, ranker, problem, centre, samples), beta * log_z)


def _went_well(report, state):
    grown = report.end > RUNAWAY * jnp.abs(report.start) + RUNAWAY
    parts = (state.params, state.log_policy, state.behaviour, report.end, report.gradient)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(parts)]
    return jnp.all(jnp.stack(finite)) & ~grown


def _select(sane, new, old):
    """The new state, or the old one with the first iteration that went wrong."""
    kept = jax.tree.map(lambda n, o: n if n is o else jnp.where(sane, n, o), new, old)
    first = jnp.where((old.diverged == 0) & ~sane, new.t, old.diverged)
    return kept.__class__(**{**kept.__dict__, "t": new.t, "diverged": first})


def _gaps(problem, state):
    probs = problem.context_probs
    policy, behaviour = jnp.exp(state.log_policy), jnp.exp(state.behaviour)
    return {
        "suboptimality": expected_gap(probs, problem.suboptimality_of(policy)),
        "behaviour_suboptimality": expected_gap(probs, problem.suboptimality_of(behaviour)),
        "tv": probs @ problem.mass_off_best_of(policy),
    }


def _distances(problem, exact, old, new):
    probs = problem.context_probs
    apart = jnp.abs(jnp.exp(exact) - jnp.exp(new.behaviour))
    return {
        "kl_to_exact": probs @ _divergence(exact, new.behaviour),
        "tv_to_exact": probs @ (0.5 * jnp.sum(apart, axis=1)),
        "moved": probs @ _divergence(new.log_policy, old.behaviour),
    }


def _divergence(log_p, log_q):
    """KL in each context, as a sum of terms that are never negative: nothing cancels."""
    p, q, apart = jnp.exp(log_p), jnp.exp(log_q), log_p - log_q
    # Far apart, the exponential of the difference may overflow where p is 0.
    near = p * jnp.expm1(jnp.clip(-apart, -1.0, 1.0))
    return jnp.sum(p * apart + jnp.where(jnp.abs(apart) < 1.0, near, q - p), axis=1)


def _of_report(report):
    return {
        "loss_before": report.start,
        "loss_after": report.end,
        "gradient": report.gradient,
        "steps": report.steps,
    }


def _check_networks(problem, policy, step, space, params):
    if isinstance(policy, type) or not isinstance(policy, Policy):
        raise InvalidArgument(
            "policy", policy, "is no policy", "pass an instance such as apo_sim.policies.MLP(...)"
        )
    STEP("step", step)
    if isinstance(space, type) or not isinstance(space, Space):
        raise InvalidArgument(
            "space", space, "is no space", "pass an instance such as apo_sim.InParameters()"
        )
    if isinstance(space, InTokens) and not isinstance(policy, SequencePolicy):
        raise InvalidArgument(
            "space", space, "needs a policy over sequences", "pass apo_sim.policies.Recurrent(...)"
        )
    own = jax.eval_shape(lambda: policy.init(jax.random.key(0)))
    if params is not None and _shapes(_checked_params(params)) != _shapes(own):
        raise InvalidArgument(
            "params", params, "are not of this policy", "pass what policy.init(key) returns"
        )
    shapes = jax.eval_shape(policy.log_prob, own)
    if shapes.shape != problem.log_ref.shape:
        raise InvalidArgument(
            "policy",
            policy,
            f"has log-probabilities of shape {shapes.shape}, the problem {problem.log_ref.shape}",
            "build both over the same contexts and arms",
        )


def _checked_params(params):
    try:
        leaves = jax.tree.leaves(params)
    except ValueError as error:
        raise InvalidArgument(
            "params", params, "are no tree", "pass what policy.init(key) returns"
        ) from error
    for leaf in leaves:
        as_array("params", leaf)
        dtype = getattr(leaf, "dtype", type(leaf))
        if dtype is not float and not jnp.issubdtype(dtype, jnp.floating):
            raise InvalidArgument("params", params, "are not all floats", "convert them")
    return params


def _shapes(params):
    leaves, structure = jax.tree.flatten(params)
    return structure, [jnp.shape(leaf) for leaf in leaves]
