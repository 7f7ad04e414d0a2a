"""R4.4: Theorem 4.4 repaired, with neither the coverage coefficient nor R."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy.special import logsumexp, softmax

from apo_sim import theory
from apo_sim.claims import instances, judge
from apo_sim.claims._studies import (
    Runs,
    Setting,
    constants,
    log10_tv_bound,
    sampled,
    uniform_bandits,
)
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study

ARMS, ITERATIONS = instances.ARMS, instances.ITERATIONS
# The adversary's: mass of the best arm, and the second term in units of the first.
MASSES = np.array([1e-300, 1e-30, 1e-9, 1e-3, 0.1, 0.5])
SHARES = np.array([1e-3, 0.1, 1.0, 10.0])
# The sampled runs.
UPDATES, HORIZONS, DELTA = 20, (3, 20), 0.05
PAIRS = (100, 1_000, 10_000, 100_000)
BETAS, ALPHAS = (1.0, 5.0), (0.0, 0.3)
SHOWN = (5.0, 0.3, 20)  # beta, alpha and T of the figure
LARGEST = 2.0  # the largest gap of rewards in [-1, 1]


@claim(
    id="R4.4",
    title="Theorem 4.4 repaired, without κ and R",
    source="ours",
    statement=r"For any rewards $r_t$, with $\bar r = \sum_i w_{T-i} r_i / \sum_k w_k$ and $p$ the "
    r"reference mass of the best arm: $$\mathrm{gap}(\hat\pi_T) \le \frac{1}{\gamma_T} "
    r"W_0\Bigl(\frac{1-p}{e\,p}\Bigr) + \max_y(\bar r - r^*) - \min_y(\bar r - r^*).$$",
    scope=Scope(
        "for all",
        "random bandits with random rewards $r_t$, an adversary's, and sampled runs of DPO",
        arms=ARMS,
        iterations=(*HORIZONS[:1], ITERATIONS, *HORIZONS[1:]),
        beta="from 0.03 to 30",
        samples=PAIRS,
        alpha="from 0 to 0.999",
    ),
    control="the second term halved",
)
def repaired_theorem(study: Study) -> Finding:
    r"""Judge the gap of the method on any rewards against optimisation plus reward error.

    Problem: the largest gap, relative to the bound, over bandits and over rewards r_t as far
    from r* as one likes. By N4 the gap is the shortfall of the average reward r_bar, which N2
    bounds by W_0/gamma, plus E_pi(r_bar - r*) - (r_bar - r*)(y*), which is at most the range of
    r_bar - r*.

    Method: random rewards (independent errors, one error for all updates, and rewards that know
    nothing of r*) put through the updates in NumPy; an adversary that climbs over rewards and
    errors of a given size; runs of DPO on sampled preferences through `apo.run`, on which the
    sum of Theorem 4.4 is evaluated as well.

    Guarantee: tight where the error is small, and for all errors as p goes to 0. It holds
    without any probability, since the error of r_bar is in it; how that falls with N is another
    matter (LD.1 for the arms that are drawn). Theorem 4.4 instead bounds that error beforehand,
    at the price of kappa and of 1/sigma'(1 + R).

    Reference: ours; it replaces the sum of Theorem 4.4.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("R4.4").source
        'ours'
    """
    tried = _tried(dataclasses.replace(study, variant="stated"))
    runs = _compared(dataclasses.replace(study, variant="stated"))
    factor = 0.5 if study.wrong else 1.0
    parts = [*tried.values(), *runs.values()]
    gap, first, second = (
        np.concatenate([getattr(part, name).ravel() for part in parts])
        for name in ("gap", "first", "second")
    )
    bound = first + second
    ratio = gap / bound
    noisy = second > first
    gained = {
        horizon: [
            float(np.median(run.log_printed - np.log10(run.bound)))
            for (*_, updates), run in runs.items()
            if updates == horizon
        ]
        for horizon in HORIZONS
    }
    orders = {horizon: [min(medians), max(medians)] for horizon, medians in gained.items()}
    informative = float(np.mean([run.bound < LARGEST for run in runs.values()]))
    words = [
        rf"$10^{{{low:.1f}}}$ to $10^{{{high:.1f}}}$ at $T = {horizon}$"
        for horizon, (low, high) in orders.items()
    ]
    return dataclasses.replace(
        judge.upper_bound(
            gap,
            first + factor * second,
            witness=lambda worst: {
                "gap": gap[worst],
                "first_term": first[worst],
                "second_term": second[worst],
            },
            unit="reward",
            note=rf"The largest ratio of gap and bound is {ratio.max():.5f} over all, and "
            rf"{ratio[noisy].max():.4f} where the second term is the larger one. On sampled runs "
            rf"the sum of Theorem 4.4 as printed is larger by {' and '.join(words)} (medians, over "
            rf"$N$, $\beta$ and $\alpha$). It needs the rewards that the run met, though, where "
            r"that sum bounds them beforehand.",
            draw=lambda figure: _draw(figure, tried, runs),
        ),
        facts={
            "largest ratio": float(ratio.max()),
            "largest ratio where the second term is larger": float(ratio[noisy].max()),
            "instances": gap.size,
            **{f"orders below the printed sum, T = {t}": ends for t, ends in orders.items()},
            "share of sampled runs where it is below the largest gap": informative,
        },
    )


class Bounded(NamedTuple):
    """Gaps and the two terms of the bound, any shape; all in units of reward."""

    gap: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @property
    def bound(self) -> np.ndarray:
        """The sum of the two terms."""
        return self.first + self.second


class Compared(NamedTuple):
    """`Bounded` with the decimal logarithm of Theorem 4.4's sum as printed, (seeds,)."""

    gap: np.ndarray
    first: np.ndarray
    second: np.ndarray
    log_printed: np.ndarray

    @property
    def bound(self) -> np.ndarray:
        """The sum of the two terms."""
        return self.first + self.second


def bounded(
    reward: np.ndarray,
    log_ref: np.ndarray,
    log_policy: np.ndarray,
    average: np.ndarray,
    gamma: np.ndarray,
) -> Bounded:
    """Gap and bound of policies; arms last, the arrays broadcast, gamma without the arms.

    Example:
        >>> reward, log_ref = np.array([1.0, -1.0]), np.log([0.01, 0.99])
        >>> found = bounded(reward, log_ref, log_ref, reward, np.array(1e-9))
        >>> round(float(found.gap), 2), float(found.second)
        (1.98, 0.0)
    """
    best = np.argmax(reward, axis=-1)[..., None]
    log_p = np.take_along_axis(log_ref, best, axis=-1)[..., 0]
    gap = np.sum(softmax(log_policy, axis=-1) * (reward.max(-1, keepdims=True) - reward), axis=-1)
    first = np.asarray(theory.sharp_gap(None, gamma, log_p_star=log_p))
    return Bounded(gap, np.broadcast_to(first, gap.shape), np.ptp(average - reward, axis=-1))


# The variants of the check judge the same instances.
@functools.lru_cache(maxsize=1)
def _tried(study: Study) -> dict[str, Bounded]:
    """Random instances and those of the adversary."""
    return {"random": _random(study), "adversary": _climbed(study)}


def _random(study: Study) -> Bounded:
    rng, count = study.rng(0), study.pick(quick=20_000, full=200_000)
    drawn = instances.random(rng, count)
    reward, log_ref = drawn.reward[:, 0], drawn.log_ref[:, 0]
    size = 10 ** rng.uniform(-4, 1, (count, 1, 1))
    kind = rng.integers(3, size=(count, 1, 1))
    independent = size * rng.normal(size=(count, ITERATIONS, ARMS))
    rewards = np.select(
        [kind == 0, kind == 1],
        [reward[:, None] + independent, reward[:, None] + independent[:, :1]],
        independent,
    )
    alpha, beta = drawn.alpha[:, None], drawn.beta[:, None]
    log_policy = _updated(log_ref, rewards, alpha, beta)
    weights = np.cumsum(alpha ** np.arange(ITERATIONS), axis=1)[:, ::-1]  # w_T ... w_1
    average = np.einsum("nt,ntk->nk", weights, rewards) / weights.sum(axis=1, keepdims=True)
    return bounded(reward, log_ref, log_policy, average, weights.sum(axis=1) / drawn.beta)


def _updated(
    log_ref: np.ndarray, rewards: np.ndarray, alpha: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    """log pi_hat_T, not normalised, (n, K): the method on given rewards (n, T, K), step by step."""
    before, behaviour = log_ref, log_ref
    for t in range(rewards.shape[1]):
        after = behaviour + rewards[:, t] / beta
        behaviour, before = after + alpha * (after - before), after
    return before


def _climbed(study: Study) -> Bounded:
    """The worst an adversary finds at every mass and every size of the second term.

    Every r_t is r* + e, and so is their average. Rewards and 1/gamma scale together: they are
    climbed at gamma = 1, and given at the gamma that keeps them near [-1, 1].
    """
    rng = study.rng(1)
    log_p, share = (a.ravel() for a in np.meshgrid(np.log(MASSES), SHARES, indexing="ij"))
    first = np.asarray(theory.sharp_gap(None, 1.0, log_p_star=log_p))
    second = share * first
    count = log_p.size
    starts = {
        "given": np.stack([log_p, second], axis=1),
        # The exact bound is attained at 1 + first; the error hides as much again as it can.
        "log_drop": np.log(1 + first + second)[:, None] + 0.1 * rng.normal(size=(count, ARMS - 1)),
        "error": np.append(-1, np.ones(ARMS - 1)) + 0.1 * rng.normal(size=(count, ARMS)),
        "rest": rng.normal(size=(count, ARMS - 1)),
    }
    top = judge.climb(_log_gap, starts, steps=study.pick(quick=300, full=3000))
    reward, log_ref, error = (np.asarray(part) for part in jax.vmap(_built)(top.all_params))
    gamma = 1 + first + second
    return bounded(
        reward / gamma[:, None],
        log_ref,
        log_ref + reward + error,
        (reward + error) / gamma[:, None],
        gamma,
    )


def _built(params: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Rewards, reference and error of one instance of the adversary; mass and size are given."""
    log_p, size = jax.lax.stop_gradient(params["given"])
    reward = jnp.concatenate([jnp.zeros(1), -jnp.exp(params["log_drop"])])
    error = size * params["error"] / jnp.ptp(params["error"])
    rest = jax.nn.log_softmax(params["rest"]) + jnp.log(-jnp.expm1(log_p))
    return reward, jnp.concatenate([log_p[None], rest]), error


def _log_gap(params: Any) -> jax.Array:
    reward, log_ref, error = _built(params)
    log_policy = jax.nn.log_softmax(log_ref + reward + error)
    return jax.nn.logsumexp(log_policy[1:] + params["log_drop"])


@functools.lru_cache(maxsize=1)
def _compared(study: Study) -> dict[tuple[int, float, float, int], Compared]:
    """Sampled runs by N, beta, alpha and T, with the sum of Theorem 4.4 on the same runs."""
    settings = [Setting(n, beta, alpha) for n in PAIRS for beta in BETAS for alpha in ALPHAS]
    bandits = uniform_bandits(study.subkey(0), study.pick(50, 400), ARMS)
    runs = sampled(study.subkey(1), settings, bandits, UPDATES)
    return {
        (int(setting.samples), setting.beta, float(setting.alpha), horizon): _on_runs(
            runs, row, setting, horizon
        )
        for row, setting in enumerate(settings)
        for horizon in HORIZONS
    }


def _on_runs(runs: Runs, row: int, setting: Setting, horizon: int) -> Compared:
    weights = np.asarray(theory.weights(setting.alpha, horizon))[::-1]
    average = np.tensordot(runs.rewards[row, :, :horizon], weights, (1, 0)) / weights.sum()
    gamma = runs.gamma[row, :, horizon - 1]
    ours = bounded(runs.true_reward, runs.log_ref, runs.log_policy[row, :, horizon], average, gamma)
    log_first = np.log10(np.log(ARMS) / gamma)  # log(1/p)/gamma, the valid form of the first term
    met = constants(runs, row, setting.beta, horizon)
    entropy = float(theory.tabular_entropy(ARMS, setting.samples, met.reward_bound.max()))
    arguments = (setting, met.reward_bound, entropy, DELTA)
    log_tv = log10_tv_bound(met.log_printed, *arguments, "printed")
    both = np.log(10) * np.stack([log_first, log_tv + np.log10(2)])
    log_printed = logsumexp(both, axis=0) / np.log(10)
    return Compared(runs.gap[row, :, horizon - 1], ours.first, ours.second, log_printed)


def _draw(figure: Figure, tried: dict[str, Bounded], runs: dict[Any, Compared]) -> None:
    left, right = figure.subplots(1, 2)
    every = [np.concatenate([getattr(r, n) for r in runs.values()]) for n in ("bound", "gap")]
    some = slice(0, 2500)
    left.plot(tried["random"].bound[some], tried["random"].gap[some], ".", ms=2, color="C5")
    left.plot(*every, ".", ms=2, color="C0")
    left.plot(tried["adversary"].bound, tried["adversary"].gap, "^", ms=4, color="C3")
    for marker, color, label in ((".", "C5", "random rewards"), (".", "C0", "sampled runs")):
        left.plot([], [], marker, color=color, label=label)
    left.plot([], [], "^", color="C3", ms=4, label="adversary")
    ends = np.array([1e-3, 1e2])
    left.plot(ends, ends, color="C2", lw=1.2, label="gap = bound")
    left.set(xscale="log", yscale="log", xlim=ends, ylim=(1e-5, 10))
    left.set(xlabel="bound (reward)", ylabel="gap (reward)", title="No gap above the bound")
    left.legend(fontsize=7.5, loc="upper left")
    beta, alpha, horizon = SHOWN
    shown = [runs[pairs, beta, alpha, horizon] for pairs in PAIRS]
    for logs, color, label in (
        ([r.log_printed for r in shown], "C1", "sum of Theorem 4.4"),
        ([np.log10(r.bound) for r in shown], "C2", "R4.4"),
        ([np.log10(r.gap) for r in shown], "C0", "gap"),
    ):
        low, mid, high = np.percentile(logs, [2.5, 50, 97.5], axis=1)
        right.fill_between(PAIRS, low, high, color=color, alpha=0.2, lw=0)
        right.plot(PAIRS, mid, "o-", color=color, label=label)
    right.axhline(np.log10(LARGEST), color="0.5", ls="--", lw=1)
    right.text(PAIRS[-1], np.log10(LARGEST) + 0.2, "largest gap", color="0.4", ha="right")
    right.set(xscale="log", xlabel="preference pairs an iteration, $N$")
    title = rf"Sampled runs, T = {horizon}, $\beta = {beta:g}$, $\alpha = {alpha}$"
    right.set(ylabel=r"$\log_{10}$ reward", title=title)
    right.legend(fontsize=7.5)
