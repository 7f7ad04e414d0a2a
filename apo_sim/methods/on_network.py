"""The proximal step of a parameterised policy: a loss brought down by gradient, momentum after."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from apo_sim.checks import as_float
from apo_sim.errors import Diverged, InvalidArgument
from apo_sim.geometry import KL
from apo_sim.geometry.bregman import check_reference
from apo_sim.losses import Extra, is_pointwise
from apo_sim.methods.method import Report
from apo_sim.methods.requests import ListedPairs, Request, SingleLabels
from apo_sim.policies import Policy, SequencePolicy
from apo_sim.problems import LogPolicy, Problem
from apo_sim.proximal.by_gradient import STEP, ByGradient
from apo_sim.pytree import like, pytree_dataclass
from apo_sim.spaces import InParameters, InTokens, Space
from apo_sim.spaces.space import log_policy_of

# An inner training that ends with so many times the loss that it began with has not trained.
RUNAWAY = 10.0


class TrainingDiverged(Diverged):
    """An inner training whose loss grew beyond bounds, or is no number any more."""

    def __init__(self, step: object, iteration: int):
        super().__init__(
            "step",
            step,
            iteration,
            "lower the learning rate, or clip: optax.chain(optax.clip_by_global_norm(1.0), ...)",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.value, self.iteration)


@pytree_dataclass
class NetworkState:
    """Where a network stands between two steps. X contexts, K arms.

    Attributes:
        params: of the proximal centre, the network after extrapolation.
        offset: added to its log-probabilities, shape (X, K).
        log_policy: log pi_hat_t, shape (X, K).
        behaviour: log pi_t, shape (X, K).
        momentum: state of the rule on what its space works on.
        reference: state of the rule on dual coordinates, which the exact (3.6) is taken from.
        optimizer: state of the optimiser where it is kept, else None.
        log_ref: log pi_ref, shape (X, K), which some geometries are relative to.
    """

    params: Any
    offset: LogPolicy
    log_policy: LogPolicy
    behaviour: LogPolicy
    momentum: Any
    reference: Any
    optimizer: Any
    log_ref: LogPolicy


@pytree_dataclass
class OnNetwork:
    """A policy with parameters, trained in every step and extrapolated in a space.

    The run starts at the reference policy of the problem: if the network starts elsewhere, the
    difference of the log-probabilities stays with it as an offset.

    Args:
        network: the policy, see `apo_sim.policies`.
        training: the inner training.
        space: where momentum acts, see `apo_sim.spaces`.
        params: to start from; None: drawn from the key of the run.

    Raises:
        InvalidArgument: something that is not a policy, inner training or space.

    Source: the paper's Algorithm 1 with its section 5.2.

    Example:
        >>> from apo_sim.policies import Table
        >>> OnNetwork(Table(1, 2)).training.steps
        100
    """

    network: Policy
    training: ByGradient = ByGradient()
    space: Space = InParameters()
    params: Any = None

    begins_at_random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.network, type) or not isinstance(self.network, Policy):
            raise InvalidArgument(
                "policy",
                self.network,
                "is not a policy",
                "pass an instance such as apo_sim.policies.MLP(...)",
            )
        STEP("step", self.training)
        if self.params is not None:
            _checked_params(self.params)
        if isinstance(self.space, type) or not isinstance(self.space, Space):
            raise InvalidArgument(
                "space",
                self.space,
                "is not a space",
                "pass an instance such as apo_sim.InParameters()",
            )
        if isinstance(self.space, InTokens) and not isinstance(self.network, SequencePolicy):
            raise InvalidArgument(
                "space",
                self.space,
                "needs a policy over sequences",
                "pass apo_sim.policies.Recurrent(...)",
            )

    def request(self, method: Any) -> Request:
        if is_pointwise(method.loss):
            return SingleLabels(method.ranker)
        return ListedPairs(method.ranker, one_by_one=self.training.batch is not None)

    def init(self, method: Any, problem: Problem, key: Key[Array, ""] | None) -> NetworkState:
        if self.params is None:
            assert key is not None  # the loop has seen to it
            params = self.network.init(key)
        else:
            params = self.params
        reference = jax.nn.log_softmax(problem.log_ref, axis=1)
        geometry = method.geometry.at(reference)
        offset = like(reference - self.network.log_prob(params), reference)
        return NetworkState(
            params=params,
            offset=offset,
            log_policy=reference,
            behaviour=reference,
            momentum=self.space.init(self.network, method.momentum, params, offset, geometry),
            reference=method.momentum.init(geometry.dual(reference)),
            optimizer=self.training.optimizer.init(params) if self.training.keep_state else None,
            log_ref=reference,
        )

    def step(
        self, method: Any, problem: Problem, state: NetworkState, data: Any, beta: Any, t: Any
    ) -> tuple[NetworkState, Report]:
        geometry = method.geometry.at(state.log_ref)
        mean = self._mean(method.loss, geometry, problem, state, data, beta)
        params, optimizer, inner = self.training.minimise(mean, state.params, state.optimizer)
        log_policy = log_policy_of(self.network, params, state.offset)
        extrapolated, offset, rule = self.space.extrapolate(
            self.network, method.momentum, params, state.offset, state.momentum, t + 1, geometry
        )
        behaviour = log_policy_of(self.network, extrapolated, offset)
        dual = geometry.dual(log_policy)
        exact, reference = like(
            method.momentum.extrapolate(dual, state.reference, t + 1), (dual, state.reference)
        )
        new = NetworkState(
            params=extrapolated,
            offset=offset,
            log_policy=log_policy,
            behaviour=behaviour,
            momentum=rule,
            reference=reference,
            optimizer=optimizer if self.training.keep_state else None,
            log_ref=state.log_ref,
        )
        return new, Report(
            behaviour=jnp.exp(behaviour),
            series=_distances(problem, geometry.policy(exact), state, new) | _of_inner(inner),
            sane=_went_well(inner, new),
        )

    def _mean(self, loss, geometry, problem, state, data, beta):
        """From parameters and the number of an inner step to the mean of the loss."""
        centre, extra = state.behaviour, Extra()
        if not is_pointwise(loss):
            win_rate = problem.win_rate(centre)
            log_z = geometry.shift(geometry.dual(centre), win_rate, beta)
            extra = Extra(log_z[:, None])

        def mean(params, number):
            log_policy = log_policy_of(self.network, params, state.offset)
            scores = beta * geometry.score(log_policy, centre)
            if is_pointwise(loss):
                return data.mean(loss, scores)
            size = self.training.batch
            part = data if size is None else data.batch(number, size)
            return part.mean(loss, scores, extra)

        return mean

    def policy(self, method: Any, state: NetworkState) -> LogPolicy:
        return state.log_policy

    def behaviour(self, method: Any, state: NetworkState) -> LogPolicy:
        return state.behaviour

    def check(self, method: Any, problem: Problem, samples: Any) -> None:
        _check_params(problem, self.network, self.params)
        _check_geometry(method.geometry, self.space)
        check_reference(method.geometry, problem.log_ref)
        batch = self.training.batch
        if batch is not None and samples is None:
            raise InvalidArgument(
                "batch", batch, "needs sampled pairs", "pass samples, or leave out batch"
            )
        if batch is not None and is_pointwise(method.loss):
            raise InvalidArgument(
                "batch",
                batch,
                "counts pairs, but the loss takes single labelled responses",
                "leave batch out",
            )

    def divergence(self, beta: Any, iteration: int) -> Exception:
        return TrainingDiverged(self.training.optimizer, iteration)


def _went_well(inner, state):
    grown = inner.end > RUNAWAY * jnp.abs(inner.start) + RUNAWAY
    parts = (state.params, state.log_policy, state.behaviour, inner.end, inner.gradient)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(parts)]
    return jnp.all(jnp.stack(finite)) & ~grown


def _distances(problem, exact, old, new):
    probs = problem.context_probs
    apart = jnp.abs(jnp.exp(exact) - jnp.exp(new.behaviour))
    kl = KL()
    return {
        "kl_to_exact": probs @ kl.divergence(exact, new.behaviour),
        "tv_to_exact": probs @ (0.5 * jnp.sum(apart, axis=1)),
        "moved": probs @ kl.divergence(new.log_policy, old.behaviour),
    }


def _of_inner(inner):
    return {
        "loss_before": inner.start,
        "loss_after": inner.end,
        "gradient": inner.gradient,
        "steps": inner.steps,
    }


def _check_geometry(geometry, space):
    if isinstance(space, InTokens) and not isinstance(geometry, KL):
        raise InvalidArgument(
            "geometry",
            geometry,
            "cannot extrapolate token by token",
            "extrapolate in another space, or pass KL()",
        )
    if geometry.legendre:
        return
    if getattr(geometry, "lazy", False):
        raise InvalidArgument(
            "geometry",
            geometry,
            "keeps dual coordinates of arms without mass, which a network cannot represent",
            "pass apo_sim.Euclidean(lazy=False)",
        )
    if not isinstance(space, InParameters):
        raise InvalidArgument(
            "geometry",
            geometry,
            "can remove all mass from an arm, which a network cannot represent",
            "extrapolate its parameters: space=apo_sim.InParameters()",
        )


def _check_params(problem, network, params):
    own = jax.eval_shape(lambda: network.init(jax.random.key(0)))
    if params is not None and _shapes(_checked_params(params)) != _shapes(own):
        raise InvalidArgument(
            "params", params, "do not belong to this policy", "pass what policy.init(key) returns"
        )
    shapes = jax.eval_shape(network.log_prob, own)
    if shapes.shape != problem.log_ref.shape:
        raise InvalidArgument(
            "policy",
            network,
            f"has log-probabilities of shape {shapes.shape}, the problem {problem.log_ref.shape}",
            "build both over the same contexts and arms",
        )


def _checked_params(params):
    try:
        leaves = jax.tree.leaves(params)
    except ValueError as error:
        raise InvalidArgument(
            "params", params, "are not a pytree", "pass what policy.init(key) returns"
        ) from error
    for leaf in leaves:
        as_float("params", leaf, None)
        dtype = getattr(leaf, "dtype", type(leaf))
        if dtype is not float and not jnp.issubdtype(dtype, jnp.floating):
            raise InvalidArgument("params", params, "are not all floats", "convert them")
    return params


def _shapes(params):
    leaves, structure = jax.tree.flatten(params)
    return structure, [jnp.shape(leaf) for leaf in leaves]
