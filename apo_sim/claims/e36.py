"""Equation (3.6): extrapolating parameters in place of log-probabilities."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.families import random_features, ring_bandit
from apo_sim.losses import DPO, IPO, SPPO
from apo_sim.momentum import Constant
from apo_sim.momentum.rule import step_beyond
from apo_sim.optimizers import SGD
from apo_sim.policies import MLP, LogLinear
from apo_sim.problems import Bandit
from apo_sim.proximal import ByGradient
from apo_sim.pytree import pytree_dataclass
from apo_sim.running import run
from apo_sim.spaces import InLogProbabilities, InParameters
from apo_sim.training import train

CONTEXTS, ARMS, FEATURES, ITERATIONS = 3, 6, 4, 20
TOLERANCE = 1e-10
ALPHAS = (0.0, 0.3, 0.9, 0.999)
# The network of the note: one hidden layer over arms in the plane.
HIDDEN, NETWORK_ARMS, ALPHA, NETWORKS = 16, 20, 0.3, 8
STEPS = np.geomspace(1e-3, 3.0, 25)
LOSSES = (DPO(), IPO(), SPPO())
TRAINED_ITERATIONS, TRAINED_STEPS = 50, 20


@claim(
    id="E3.6",
    title="Extrapolation in parameters",
    source="paper",
    statement=r"For every policy log-linear in $\theta$ the extrapolation (3.6) of "
    r"log-probabilities is one of parameters: $$\theta_{t+1} = \hat\theta_{t+1} + "
    r"\alpha\,(\hat\theta_{t+1} - \hat\theta_t).$$",
    control=r"the sign of $\alpha$ in parameters",
    scope=Scope(
        "for all",
        f"random log-linear policies of {FEATURES} features in {CONTEXTS} contexts, updated "
        f"exactly or, over {TRAINED_ITERATIONS} iterations, trained by gradient",
        arms=ARMS,
        iterations=(ITERATIONS, TRAINED_ITERATIONS),
        beta="from 0.1 to 100",
        samples="exact",
        alpha=ALPHAS,
    ),
)
def parameter_extrapolation(study: Study) -> Finding:
    r"""Judge that extrapolating theta is extrapolating log pi, for log-linear policies.

    Problem: the largest error of a log-probability, relative to 1 + |log pi|, after 20 updates:
    the loop on tables, learning the log-linear reward nearest to P(y > pi_t), against the same
    updates on theta.

    The same for policies trained by gradient, momentum acting in either space.

    Guarantee: an identity for log-linear policies; what is left in theta is the normaliser. For
    a network the two differ by a KL divergence of second order in that of a small step.

    Reference: equations (3.6) and (3.7) of the paper.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("E3.6").title
        'Extrapolation in parameters'
    """
    rng = study.rng()
    count = study.pick(quick=1_000, full=50_000)
    features = rng.normal(size=(count, CONTEXTS, ARMS, FEATURES))
    theta = 2 * rng.normal(size=(count, FEATURES))
    reward = rng.uniform(-1, 1, (count, CONTEXTS, ARMS))
    alpha = rng.choice(ALPHAS, count)
    beta = 10 ** rng.uniform(-1, 2, count)
    sign = -1.0 if study.wrong else 1.0
    inverse = np.linalg.pinv(features.reshape(count, -1, FEATURES))
    error = np.asarray(_compare(features, inverse, theta, reward, alpha, beta, sign))
    losses = study.pick(quick=LOSSES[:1], full=LOSSES)
    trained = [
        np.asarray(_trained(loss, jax.random.split(study.subkey(1), 20), sign)) for loss in losses
    ]
    moved, apart = map(np.asarray, _network_distance(study.key))
    near = int(np.argmin(np.abs(np.log(np.median(moved, axis=0) / 0.1))))
    order = judge.slope(np.log(moved[:, :12].ravel()), np.log(apart[:, :12].ravel()))[0]
    return judge.identity(
        np.concatenate([error, *trained]),
        TOLERANCE,
        witness=lambda worst: (
            {
                "features": features[worst],
                "theta": theta[worst],
                "reward": reward[worst],
                "alpha": alpha[worst],
                "beta": beta[worst],
            }
            if worst < count
            else {"trained_policy": worst - count}
        ),
        note=f"Policies trained by gradient over {TRAINED_ITERATIONS} iterations "
        f"({', '.join(type(loss).__name__ for loss in losses)}) "
        f"differ by {max(map(np.max, trained)):.1e}. For a network ({HIDDEN} hidden units, "
        f"{NETWORK_ARMS} arms, $\\alpha = {ALPHA}$) the two policies are "
        f"{np.median(apart[:, near]):.1e} nats apart after a step of "
        f"{np.median(moved[:, near]):.2f} nats (medians of {NETWORKS} networks), and their "
        f"distance grows with that of the step to the power {order:.2f}.",
        draw=_figure(moved, apart),
    )


@pytree_dataclass
class _Projected:
    """A loss restricted to log-linear policies: the nearest reward linear in the features."""

    features: Any
    inverse: Any

    def __call__(self, h_winner: Any, h_loser: Any, extra: Any) -> Any:
        return h_loser - h_winner

    def parameters(self, problem: Any, log_policy: Any) -> Any:
        return self.inverse @ problem.win_rate(log_policy).ravel()

    def population_rewards(self, problem: Any, log_policy: Any) -> Any:
        return self.features @ self.parameters(problem, log_policy)


@jax.jit
def _compare(
    features: Any, inverse: Any, theta: Any, reward: Any, alpha: Any, beta: Any, sign: Any
) -> Any:
    def one(features: Any, inverse: Any, theta: Any, reward: Any, alpha: Any, beta: Any) -> Any:
        def log_policy(theta: Any) -> Any:
            return jax.nn.log_softmax(features @ theta, axis=1)

        bandit = Bandit(reward, log_policy(theta))
        loss = _Projected(features, inverse)
        table = run(bandit, loss, Constant(alpha), beta=beta, iterations=ITERATIONS)
        rule = Constant(sign * alpha, unrestricted=True)

        def update(state: Any, t: Any) -> Any:
            centre, momentum = state
            new = centre + loss.parameters(bandit, log_policy(centre)) / beta
            return rule.extrapolate(new, momentum, t), new

        start = (theta, rule.init(theta))
        _, path = jax.lax.scan(update, start, jnp.arange(1, ITERATIONS + 1))
        expected = log_policy(path[-1])
        return jnp.max(jnp.abs(table.final_log_policy - expected) / (1 + jnp.abs(expected)))

    return jax.vmap(one)(features, inverse, theta, reward, alpha, beta)


@jax.jit
def _network_distance(key: Any) -> Any:
    """KL of a step uphill, and KL between its extrapolation in log pi and in parameters."""

    def kl(log_p: Any, log_q: Any) -> Any:
        apart = log_p - log_q
        return jnp.sum(jnp.exp(log_p) * (apart + jnp.expm1(-apart)))  # no cancellation, never < 0

    def one(key: Any) -> Any:
        to_params, to_arms = jax.random.split(key)
        arms = jax.random.normal(to_arms, (1, NETWORK_ARMS, 2))
        policy = MLP(arms, width=HIDDEN, activation="tanh")
        old = policy.init(to_params)
        reward = ring_bandit(arms, radius=1.0, decay=1.0).reward
        uphill = jax.grad(lambda params: jnp.sum(jnp.exp(policy.log_prob(params)) * reward))(old)
        length = optax.tree.norm(uphill)

        def step(size: Any) -> Any:
            new = jax.tree.map(lambda leaf, up: leaf + size * up / length, old, uphill)
            before, after = policy.log_prob(old), policy.log_prob(new)
            in_function = jax.nn.log_softmax(step_beyond(after, before, ALPHA))
            in_parameters = policy.log_prob(step_beyond(new, old, ALPHA))
            return kl(after, before), kl(in_function, in_parameters)

        return jax.vmap(step)(STEPS)

    return jax.vmap(one)(jax.random.split(key, NETWORKS))


@functools.partial(jax.jit, static_argnums=0)
def _trained(loss: Any, keys: Any, sign: Any) -> Any:
    """Policies trained by gradient with momentum in either space: how far apart."""

    def one(key: Any) -> Any:
        to_features, to_reward, to_params = jax.random.split(key, 3)
        policy = LogLinear(random_features(to_features, CONTEXTS, ARMS, FEATURES))
        params = policy.init(to_params)
        reward = jax.random.uniform(to_reward, (CONTEXTS, ARMS), minval=-1.0)
        bandit = Bandit(reward, policy.log_prob(params))
        step = ByGradient(SGD(0.1), steps=TRAINED_STEPS)

        def after(rule: Any, space: Any) -> Any:
            run_of = functools.partial(train, bandit, policy, loss, rule, step=step, space=space)
            return run_of(
                beta=1.0, iterations=TRAINED_ITERATIONS, params=params, key=key
            ).state.log_policy

        exact = after(Constant(ALPHA), InLogProbabilities())
        other = after(Constant(sign * ALPHA, unrestricted=True), InParameters())
        return jnp.max(jnp.abs(exact - other) / (1 + jnp.abs(exact)))

    return jax.vmap(one)(keys)


def _figure(moved: np.ndarray, apart: np.ndarray):
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for x, y in zip(moved, apart, strict=True):
            axes.loglog(x, y, color="C0", alpha=0.6, linewidth=1.2)
        ends = np.array([moved.min(), moved.max()])
        axes.plot(ends, ends, color="0.5", linestyle=":", linewidth=1.2)
        axes.text(ends[0] * 2, ends[0] * 700, "as far as the step itself", color="0.4")
        axes.text(
            ends[0] * 2, 2e-11, rf"{len(moved)} random networks, $\alpha = {ALPHA}$", color="C0"
        )
        axes.text(
            ends[1] / 2, 1e-15, "log-linear policies: not apart at all", color="C2", ha="right"
        )
        axes.set(xlabel=r"how far the step moves the policy, $\mathrm{KL}$ in nats")
        axes.set(ylabel="distance of the two extrapolations,\n" + r"$\mathrm{KL}$ in nats")
        axes.set(ylim=(1e-16, 10))

    return draw
