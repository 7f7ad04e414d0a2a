"""Assumption 4.6: a positive gap between the best reward and the runner-up."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import families
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit
from apo_sim.running import run

ARMS = 10
CONTEXTS = (1, 10, 100)
# So little regularisation that two updates reach the rate of the limit.
BETA, ITERATIONS, ALPHA = 1e-9, 2, 0.3


@claim(
    id="A4.6",
    title="A positive gap, and what it buys",
    source="paper",
    statement=(
        r"In every context one arm leads by $\Delta > 0$; then with exact preferences "
        r"$$-\frac{1}{\gamma_T}\log D_{TV}(\hat\pi_T, \pi^*) \to \Delta,$$ with the smallest "
        r"$\Delta$ of all contexts, and with no better rate."
    ),
    scope=Scope(
        "for all",
        f"random rewards, uniform on [-1, 1], in {CONTEXTS[-1]} contexts, in the limit "
        r"$\gamma_T \to \infty$",
        arms=ARMS,
        iterations=ITERATIONS,
        beta=f"{BETA:g}",
        samples="exact",
        alpha=ALPHA,
    ),
    control="best arms that tie, with the gap read off the next lower reward",
)
def positive_gap(study: Study) -> Finding:
    r"""Measure the smallest gap, and whether it is the rate at which the best arm takes over.

    Problem: random rewards have a gap with probability one, but it is the smallest of all
    contexts that counts, and with X contexts of K arms that is about 1/(X K).

    Method: exact runs, far into the limit; the slope of the log of the mass off the best arms
    against gamma, next to the gap read off the rewards.

    Guarantee: tight, an equality in the limit. Where two best arms tie the policy keeps their
    shares: it becomes optimal, but it never becomes deterministic, and the total variation to
    any single arm does not vanish. Theorem 4.8 does not apply there; Theorem 4.4 does.

    Reference: Assumption 4.6 of the paper; what a tie does is ours.

    Example:
        >>> families.gap_bandit(jax.random.key(0), 0.25).gap.round(6).tolist()
        [0.25]
    """
    count = study.pick(quick=200, full=2000)
    keys = jax.random.split(study.subkey(0), count)
    rates, gaps = (np.asarray(a) for a in _rates(keys, study.wrong))
    errors = rates / gaps[:, -1] - 1
    tied = np.asarray(_ties(jax.random.split(study.subkey(1), count)))
    low, high = judge.clopper_pearson(int(tied.sum()), count)
    medians = ", ".join(f"{gap:.1g}" for gap in np.median(gaps, axis=0))
    finding = judge.identity(
        errors,
        1e-3,
        unit="relative error of the rate",
        witness=lambda worst: {"rate": rates[worst], "gap": gaps[worst, -1]},
        note=(
            f"Uniform rewards of {ARMS} arms meet it with probability one, yet their median "
            rf"$\Delta$ over 1, 10 and 100 contexts is {medians}: the number of updates that "
            f"the rate asks for grows with the number of contexts. Rewards on three levels break "
            f"it for {ARMS} arms in {100 * low:.0f} to {100 * high:.0f} % of contexts, and then a "
            f"tie keeps the policy from ever becoming deterministic."
        ),
        draw=_figure(gaps),
    )
    facts = {
        f"median gap, {n} contexts": float(np.median(gaps[:, i])) for i, n in enumerate(CONTEXTS)
    }
    return dataclasses.replace(finding, facts=facts | {"share of contexts with a tie": tied.mean()})


@jax.jit
def _rates(keys: jax.Array, tied: Any) -> tuple[jax.Array, jax.Array]:
    """How fast the mass off the best arms falls, and the smallest gap of the first contexts."""

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        bandit = families.uniform_bandit(key, CONTEXTS[-1], ARMS)
        gaps = jnp.stack([jnp.min(bandit.gap[:contexts]) for contexts in CONTEXTS])
        # With ties the worst arm becomes as good as the best.
        best, worst = jnp.max(bandit.reward, axis=1), jnp.argmin(bandit.reward, axis=1)
        lifted = bandit.reward.at[jnp.arange(CONTEXTS[-1]), worst].set(best)
        bandit = Bandit(jnp.where(tied, lifted, bandit.reward), bandit.log_ref)
        solution = run(
            bandit, momentum=Constant(ALPHA), beta=BETA, iterations=ITERATIONS, save="path"
        )
        off = jnp.arange(ARMS) != bandit.best_arm[:, None]
        log_tv = jax.nn.logsumexp(jnp.where(off, solution.log_policy[1:], -jnp.inf), axis=(1, 2))
        return -(log_tv[1] - log_tv[0]) / (solution.gamma[1] - solution.gamma[0]), gaps

    return jax.vmap(one)(keys)


@jax.jit
def _ties(keys: jax.Array) -> jax.Array:
    return jax.vmap(lambda key: families.tied_bandit(key, 3, 1, ARMS).gap[0] <= 0)(keys)


def _figure(gaps: np.ndarray):
    gamma = np.linspace(0, 60, 200)

    def takeover(*rewards: float) -> np.ndarray:
        weights = np.exp(np.multiply.outer(np.array(rewards) - rewards[0], gamma))
        return weights[1:].sum(axis=0) / weights.sum(axis=0)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        share = np.linspace(0, 1, gaps.shape[0])
        for i, (contexts, color) in enumerate(zip(CONTEXTS, ("C0", "C3", "C4"), strict=True)):
            label = f"{contexts} context{'s' if contexts > 1 else ''}"
            left.semilogx(np.sort(gaps[:, i]), share, color=color, label=label)
        left.set_title("Uniform rewards, ten arms")
        left.set(xlabel=r"smallest gap $\Delta$", ylabel="share of problems below it")
        left.legend(loc="upper left")
        right.semilogy(gamma, takeover(1.0, 0.7, -1.0), color="C0", label=r"$\Delta = 0.3$")
        right.semilogy(gamma, takeover(1.0, 0.95, -1.0), color="C5", label=r"$\Delta = 0.05$")
        right.semilogy(gamma, takeover(1.0, 1.0, -1.0), color="C1", label="a tie")
        right.set_title("Three arms")
        right.set(xlabel=r"$\gamma_T$", ylabel="total variation to the best arm")
        right.set_ylim(1e-8, 2)
        right.legend(loc="lower left")

    return draw
