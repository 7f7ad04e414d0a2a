"""N19: averaging with a smaller beta weighs every reward as extrapolation does."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.momentum import Averaging, Constant

ARMS, ITERATIONS = 5, 20
TOLERANCE = 1e-10
ALPHAS = (0.3, 0.6, 0.9)  # of the figure
COLOURS = ("C5", "C4", "C3")


@claim(
    id="N19",
    title="Averaging is extrapolation at a smaller beta",
    source="ours",
    statement=r"Whatever the rewards $r_0, r_1, \dots$, the same for both rules: the policies "
    r"$\pi_t$ of the moving average $h_t = \alpha h_{t-1} + (1-\alpha)(\hat\pi_t - \pi_{t-1})$, "
    r"$\pi_t = \pi_{t-1} + h_t$ (in log-probabilities) at $\beta(1-\alpha)$ are the outputs "
    r"$\hat\pi_t$ of extrapolation by $\alpha$ at $\beta$: both give $r_i$ the weight "
    r"$w_{t-i}/\beta$.",
    control=r"averaging at the same $\beta$",
    scope=Scope(
        "for all",
        "sequences of random rewards, random references",
        arms=ARMS,
        iterations=ITERATIONS,
        beta="from 0.001 to 1,000",
        alpha="from 0 to 0.999",
    ),
)
def same_weights(study: Study) -> Finding:
    r"""Judge that both rules, fed the same rewards, pass through the same policies.

    Problem: the largest error of a log-probability, relative to 1 + |log pi|, at any update. The
    rules are the package's own, `Averaging` and `Constant`, applied as the loop applies them.

    Guarantee: an identity. With exact preferences the rewards do not depend on who collects the
    data, so that the two are one method; with sampled ones they differ by that alone: averaging
    draws its data from pi_t, extrapolation from one step beyond (V3).

    Reference: ours; MoVI (Vieillard et al. 2020) for the average.

    Example:
        >>> from apo_sim.claims import check
        >>> verdict = check("N19")
        >>> verdict.verdict, verdict.control["verdict"]
        ('holds', 'fails')
    """
    rng = study.rng()
    count = study.pick(quick=2_000, full=100_000)
    rewards = rng.normal(size=(count, ITERATIONS, ARMS))
    log_ref = rng.normal(size=(count, ARMS)) * rng.choice([0.0, 1.0, 5.0], (count, 1))
    log_ref -= np.logaddexp.reduce(log_ref, axis=1, keepdims=True)
    alpha = np.where(rng.random(count) < 0.5, rng.random(count), rng.choice([0.0, 0.999], count))
    beta = 10 ** rng.uniform(-3, 3, count)
    share = np.ones(count) if study.wrong else 1 - alpha
    error = np.asarray(_compare(rewards, log_ref, alpha, beta, share))
    finding = judge.identity(
        error,
        TOLERANCE,
        witness=lambda worst: {
            "alpha": alpha[worst],
            "beta": beta[worst],
            "reference": np.exp(log_ref[worst]),
            "rewards": rewards[worst],
        },
        note=f"Every policy of {ITERATIONS} updates is compared; errors are relative to "
        r"$1 + |\log\pi|$.",
    )
    return dataclasses.replace(finding, draw=_draw)


@jax.jit
def _compare(rewards: Any, log_ref: Any, alpha: Any, beta: Any, share: Any) -> Any:
    def one(rewards: Any, log_ref: Any, alpha: Any, beta: Any, share: Any) -> Any:
        outputs, _ = path(Constant(alpha), rewards, log_ref, beta)
        _, centres = path(Averaging(alpha), rewards, log_ref, beta * share)
        return jnp.max(jnp.abs(outputs - centres) / (1 + jnp.abs(outputs)))

    return jax.vmap(one)(rewards, log_ref, alpha, beta, share)


def path(rule: Any, rewards: Any, log_ref: Any, beta: Any) -> tuple[Any, Any]:
    """What a momentum rule makes of given rewards: log pi_hat_1 ... pi_hat_T, log pi_1 ... pi_T.

    Args:
        rule: any momentum rule.
        rewards: shape (T, K).
        log_ref: shape (K,).
        beta: proximal weight.

    Example:
        >>> rewards, uniform = jnp.ones((2, 1)) * jnp.array([1.0, 0.0]), jnp.log(jnp.ones(2) / 2)
        >>> outputs, _ = path(Constant(0.5), rewards, uniform, 1.0)
        >>> (outputs[:, 0] - outputs[:, 1]).tolist()  # w_1 and w_1 + w_2
        [1.0, 2.5]
    """

    def update(carry: Any, inputs: Any) -> Any:
        centre, state = carry
        t, reward = inputs
        new = jax.nn.log_softmax(centre + reward / beta)
        centre, state = rule.extrapolate(new, state, t)
        return (centre, state), (new, jax.nn.log_softmax(centre))

    steps = jnp.arange(1, rewards.shape[0] + 1)
    _, policies = jax.lax.scan(update, (log_ref, rule.init(log_ref)), (steps, rewards))
    return policies


def _draw(figure: Figure) -> None:
    """The weights of both rules, and the total weight of the policy that collects the data."""
    left, right = figure.subplots(1, 2)
    t = np.arange(1, ITERATIONS + 1)
    ones, uniform = jnp.ones((ITERATIONS, 1)) * jnp.array([1.0, 0.0]), jnp.zeros(2)
    for colour, alpha in zip(COLOURS, ALPHAS, strict=True):
        outputs, behaviour = path(Constant(alpha), ones, uniform, 1.0)
        _, centres = path(Averaging(alpha), ones, uniform, 1.0 - alpha)
        total = [np.asarray(p[:, 0] - p[:, 1]) for p in (outputs, behaviour, centres)]
        left.plot(t, np.diff(total[0], prepend=0.0), color=colour, label=rf"$\alpha = {alpha:g}$")
        left.plot(t, np.diff(total[2], prepend=0.0), "o", color="0.3", fillstyle="none", ms=4)
        right.plot(t, total[1], color=colour)
        right.plot(t, total[2], "o", color=colour, fillstyle="none", ms=4)
        assert np.allclose(total[0], np.cumsum(theory.weights(alpha, ITERATIONS)))
    left.plot([], [], color="0.3", label=r"extrapolation at $\beta$")
    left.plot([], [], "o", color="0.3", fillstyle="none", label=r"averaging at $\beta(1-\alpha)$")
    left.set(xlabel="age $k$ of a reward, in updates", ylabel=r"its weight, in $1/\beta$")
    left.set(title="in the output: the same", xticks=range(0, 21, 5))
    right.set(xlabel="updates $t$", ylabel=r"total weight, in $1/\beta$", xticks=range(0, 21, 5))
    right.set(title="in the policy that collects the data")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
