"""The proximal method on a parameterised policy, in one call."""

from typing import Any

from jaxtyping import Array, Key

from apo_sim.arguments import as_beta_schedule
from apo_sim.checks import as_count, one_of
from apo_sim.geometry import KL, Geometry
from apo_sim.loop import Solution, State, solve
from apo_sim.losses import DPO, Loss
from apo_sim.methods import OnNetwork, Proximal
from apo_sim.momentum import Momentum, NoMomentum
from apo_sim.policies import Policy
from apo_sim.preferences import Pairwise, Ranker
from apo_sim.problems import PROBLEM, Problem
from apo_sim.proximal.by_gradient import ByGradient
from apo_sim.self_checking import checks_itself
from apo_sim.spaces import InParameters, Space

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


@checks_itself
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
    geometry: Geometry = KL(),
    step: ByGradient = ByGradient(),
    space: Space = InParameters(),
    params: Any = None,
    state: State | None = None,
    save: str = "metrics",
) -> Solution:
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
        ranker: how a preference pair comes about.
        geometry: the Bregman divergence of the proximal step, see `apo_sim.geometry`; momentum in
            log-probabilities acts on its dual coordinates.
        step: the inner training.
        space: where momentum acts, see `apo_sim.spaces`.
        params: to start from; None: drawn from `key`.
        state: of a `Solution` to continue with the same other arguments, in place of `key` and
            `params`; the result is as if it had never been interrupted. A schedule of beta is that
            of the iterations to come.
        save: "metrics", or "path" to keep the policies.

    Returns:
        A `Solution`, whose `state.method` is a `NetworkState`. Works inside `jax.jit` and
        `jax.vmap`, over problems, keys, parameters, alpha, beta and the optimiser's settings;
        there, a run that diverges stops learning and says so in `state.diverged`. Its series,
        shape (T,) each:

        - behaviour_suboptimality: gap of pi_1 ... pi_T, after extrapolation;
        - kl_to_exact: KL divergence, in nats, of the policy after extrapolation from (3.6) of the
            same pi_hat, computed exactly; 0 where log-probabilities are extrapolated;
        - tv_to_exact: total variation between the same two;
        - moved: KL divergence of pi_hat_{t+1} from its proximal centre, in nats;
        - loss_before: the loss at the proximal centre;
        - loss_after: the loss of the same data where the inner training ended;
        - gradient: norm of the gradient before the last inner step;
        - steps: inner steps taken.

    Raises:
        TrainingDiverged: the loss of an inner training is no number, or ten times what it was.
        InvalidArgument: anything unusable, named, before compilation.

    Source: the paper's Algorithm 1 with its section 5.2.

    Example:
        >>> import jax, jax.numpy as jnp
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
    PROBLEM("problem", problem)
    one_of(("metrics", "path"))("save", save)
    betas = as_beta_schedule(beta, as_count("iterations", iterations), problem)
    fit = OnNetwork(policy, step, space, params)
    first = state.t if isinstance(state, State) else 0
    method = Proximal(loss, momentum, geometry, betas, ranker, fit, first)
    return solve(
        problem, method, iterations=iterations, samples=samples, key=key, save=save, state=state
    )
