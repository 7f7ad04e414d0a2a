"""The proximal method on a parameterised policy, in one call."""

from typing import Any

from jaxtyping import Array, Key

from apo_sim.arguments import as_beta_schedule
from apo_sim.checks import as_count, one_of
from apo_sim.geometry import KL, Geometry
from apo_sim.loop import Solution, State, solve
from apo_sim.losses import DPO, Loss, PointwiseLoss
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
    loss: Loss | PointwiseLoss = DPO(),
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

    This is the method of `run`, with the same losses and rules, but each proximal step minimises
    the loss over the parameters by gradient descent, and `space` selects what momentum
    extrapolates. The run starts at the reference policy of the problem. If the network starts
    elsewhere, the difference of the log-probabilities is added to its output throughout. To use
    the network itself as the reference, set `log_ref=policy.log_prob(params)` and pass the same
    `params`.

    Args:
        problem: a `Bandit` or a `Game`.
        policy: the network, see `apo_sim.policies`.
        loss: the loss that the proximal step minimises, see `apo_sim.losses`.
        momentum: the rule that extrapolates between two steps, see `apo_sim.momentum`.
        beta: proximal weight, above 0; one number, or one for each iteration, shape (iterations,).
        iterations: number of iterations T, at least 1.
        key: a `jax.random.key` for the initial parameters and the data.
        samples: number N of preference pairs per iteration; None for exact preferences, the mean
            over all pairs that the policy can draw.
        ranker: how pairs are drawn and labelled, see `apo_sim.preferences`.
        geometry: the Bregman divergence of the proximal step, see `apo_sim.geometry`; momentum in
            log-probabilities acts on its dual coordinates.
        step: the inner training that takes a proximal step.
        space: what momentum extrapolates, see `apo_sim.spaces`.
        params: the initial parameters; None to draw them from `key`.
        state: the state of a `Solution`, to continue that run with otherwise equal arguments and
            without `key` and `params`; the result is the same as that of an uninterrupted run. A
            schedule of beta then covers only the remaining iterations.
        save: "metrics", or "path" to keep the policies too.

    Returns:
        A `Solution`, whose `state.method` is a `NetworkState`. The function works inside `jax.jit`
        and `jax.vmap`, over problems, keys, parameters, alpha, beta and the optimiser's settings;
        there, a run that diverges stops learning and records the iteration in `state.diverged`. It
        reports these series, each of shape (T,):

        - behaviour_suboptimality: gap of pi_1 ... pi_T, after extrapolation;
        - kl_to_exact: KL divergence, in nats, of the extrapolated policy from (3.6) applied exactly
            to the same pi_hat; 0 if momentum extrapolates log-probabilities;
        - tv_to_exact: total variation between the same two policies;
        - moved: KL divergence of pi_hat_{t+1} from its proximal centre, in nats;
        - loss_before: the loss at the proximal centre;
        - loss_after: the loss on the same data after the inner training;
        - gradient: norm of the gradient before the last inner step;
        - steps: inner steps taken.

    Raises:
        TrainingDiverged: the loss of an inner training is not a number, or ten times its initial
            value.
        InvalidArgument: an argument is unusable; raised before compilation, with its name.

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
