"""V2: whether log-probabilities stay of order log T."""

from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import instances, judge
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import run
from apo_sim.momentum import Constant
from apo_sim.problems import Bandit

ITERATIONS = 2_000
FITTED = slice(10, 201)  # the updates that choose the constant in front of log T
T = np.arange(ITERATIONS + 1.0)


@claim(
    id="V2",
    title="Log-probabilities of order log T",
    source="reviews",
    statement=r"With exact preferences the log-probability of an arm that is not optimal obeys "
    r"$$-\log\hat\pi_T(y) = O(\log T).$$",
    control=r"$\log\log T$ instead, for weights $\beta_t \propto t$ at which $O(\log T)$ is true",
)
def logarithmic_growth(study: Study) -> Finding:
    r"""Judge -log pi_hat_T(y) <= c log(1 + T).

    Problem: O hides a constant, so every run chooses its own: the smallest c that fits updates
    10 to 200. Then the bound is held against the run ten times later. The arm is the runner-up,
    whose probability falls slowest.

    Guarantee: refuted: the growth is linear (N7), as Theorem 4.8 itself implies. The check can
    tell: where the weights beta_t grow like t, so that gamma_T is of order log T, the same
    bound passes, and one of order log log T does not.

    Reference: the authors' reply in the reviews, in defence of Assumption 4.3.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("V2").source
        'reviews'
    """
    tried = instances.leading(study.rng(), study.pick(quick=200, full=2_000))
    tried = instances.with_mass(tried, 1 / instances.ARMS)._replace(beta=10 * tried.beta)
    steady = np.asarray(_runner_up(tried, np.ones(ITERATIONS)))
    plain = tried._replace(alpha=0 * tried.alpha, beta=tried.beta / 100)
    slowing = np.asarray(_runner_up(plain, T[1:]))
    logarithm = np.log1p(T)
    bound = _fitted(steady, logarithm)
    measured = steady[:, -1]
    passes = judge.upper_bound(slowing[:, -1], _fitted(slowing, logarithm))
    if study.wrong:
        measured, bound = slowing[:, -1], _fitted(slowing, np.log1p(logarithm))
    return judge.upper_bound(
        measured,
        bound,
        witness=lambda worst: (
            tried.witness(worst, ITERATIONS - 1)
            | {"minus_log_probability": measured[worst], "c_log_T": bound[worst]}
        ),
        unit="nats",
        note=f"The constant is fitted on updates {FITTED.start} to {FITTED.stop - 1}; at "
        f"$T = {ITERATIONS}$ {np.mean(measured > bound):.0%} of the bandits exceed the bound. "
        r"With weights $\beta_t \propto t$, where $\gamma_T$ is of order $\log T$, the same test "
        f"says `{passes.verdict}`.",
        draw=_figure(steady[0], bound[0]),
    )


def _fitted(growth: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The bound c shape(T) at the end, c the smallest that covers the fitted updates."""
    constant = np.max(growth[:, FITTED] / shape[FITTED], axis=1)
    return constant * shape[-1]


@jax.jit
def _runner_up(tried: instances.Instances, factors: Any) -> Any:
    """-log pi_hat_0 ... -log pi_hat_T of the runner-up, at weights beta times `factors`."""

    def one(reward: Any, log_ref: Any, alpha: Any, beta: Any) -> Any:
        bandit = Bandit(reward, log_ref)
        betas = beta * factors
        solution = run(
            bandit, momentum=Constant(alpha), beta=betas, iterations=ITERATIONS, save="path"
        )
        assert solution.log_policy is not None
        return -solution.log_policy[:, 0, jax.lax.top_k(reward[0], 2)[1][1]]

    return jax.vmap(one)(*tried)


def _figure(growth: np.ndarray, bound: float):
    seen = np.unique(np.geomspace(1, ITERATIONS, 300).astype(int))
    line = bound * np.log1p(T) / np.log1p(ITERATIONS)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        for axes in (left, right):
            axes.plot(T[seen], growth[seen], color="C0")
            axes.plot(T[seen], line[seen], color="C1")
            axes.axvspan(FITTED.start, FITTED.stop - 1, color="0.85", linewidth=0, zorder=0)
            axes.set(xlabel="updates $T$", ylim=(0, 1.05 * growth[-1]))
        left.set(ylabel=r"$-\log\hat\pi_T(y)$ of the runner-up, in nats", xlim=(0, ITERATIONS))
        right.set(xscale="log", xlim=(1, ITERATIONS))
        left.text(1150, 0.68 * growth[-1], "run", color="C0", ha="right")
        left.text(
            1900, line[-1] * 1.2, r"$c\,\log T$, fitted on the grey part", color="C1", ha="right"
        )
        left.set_title("A straight line in $T$")
        right.set_title(r"Not one in $\log T$")

    return draw
