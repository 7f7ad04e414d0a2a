"""Lemma C.2: the statistical error of the policy under general preferences."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study
from apo_sim.loop import run
from apo_sim.losses import SPPO
from apo_sim.momentum import Constant
from apo_sim.problems import Game

ARMS, ITERATIONS, ALPHA, SAMPLES, DELTA = 4, 3, 0.3, 2_000, 0.05
BETAS = np.geomspace(0.5, 0.002, 8)


@claim(
    id="LC.2",
    title="Statistical error of the policy, general preferences",
    source="paper",
    statement=r"The bound of Lemma C.1, with the $\kappa_t$ of (4.1), for the SPPO loss on a game: "
    r"$$D_{TV}(\hat\pi_T, \pi^*_T) \le \frac{1}{\sigma'(1+R)} "
    r"\sqrt{\frac{T \sum_t \kappa_t \log(T|\Pi|/\delta)}{N \beta^2 (1-\alpha)^2}}$$ with "
    r"probability at least $1 - \delta$, where $\pi^*_T$ follows the exact rewards "
    r"$P(y \succ \pi_t)$ of the policies visited.",
    control=r"the bound divided by $10^6$ (the check must then count more failures, not fewer)",
    errata=r"False with the printed $\kappa_t$, for the reason given at Lemma C.1: a game of two "
    r"arms, $T = 1$ and a small $\beta$.",
)
def policy_error_in_games(study: Study) -> Finding:
    r"""Judge Lemma C.2 on games with SPPO: two arms as printed, random ones as repaired.

    Problem: the first arm beats the second with probability 0.6; N = 5, T = 1, uniform reference.
    Beside it, random games whose first arm dominates (Assumption B.1), T = 3, N = 2,000.

    Method: as `LC.1`. The exact policy pi*_T puts the true win rates against the visited policies
    into the closed form of Theorem 4.1.

    Guarantee: false as printed; with the corrected kappa never exceeded, and vacuous.

    Reference: Lemma C.2 and (4.1) of the paper; the counterexample is ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("LC.2").source
        'paper'
    """
    seeds = study.pick(200, 4000)
    two = np.broadcast_to(np.array([[0.5, 0.6], [0.4, 0.5]]), (seeds, 2, 2))
    keys = jax.random.split(study.subkey(0), seeds)
    # Five pairs fall into four cells in 56 ways; with the exact policy, |Pi| is at most 57.
    small = [_bounds(keys, two, beta, 0.0, 5.0, 1, np.log(57.0)) for beta in BETAS]
    games = _dominated(study.rng(1), study.pick(40, 400))
    large = [_bounds(keys[: len(games)], games, b, ALPHA, SAMPLES, ITERATIONS, None) for b in BETAS]
    lowered = 6.0 if study.wrong else 0.0
    failures = [int(np.sum(distance > 10.0 ** (log - lowered))) for distance, log, _ in small]
    repaired = sum(int(np.sum(d > 10.0**log)) for d, _, log in small + large)
    orders = np.array([log for *_, log in large])
    distance, printed, _ = small[-1]
    at = int(np.argmax(distance > 10.0**printed))
    return judge.failure_rate(
        failures[-1],
        seeds,
        DELTA,
        witness={
            "preference": two[0],
            "reference": [0.5, 0.5],
            "beta": BETAS[-1],
            "samples": 5,
            "iterations": 1,
            "distance": distance[at],
            "log10_of_the_printed_bound": printed[at],
        },
        note=rf"With the corrected $\kappa$ and constant {repaired} of "
        rf"{sum(log.size for *_, log in small + large)} runs exceed it; on the random games it is "
        rf"never below $10^{{{orders.min():.1f}}}$, so empty.",
        draw=lambda figure: _draw(figure, small, large, np.array(failures) / seeds),
    )


def _dominated(rng: np.random.Generator, count: int) -> np.ndarray:
    """Preferences (count, K, K) near one half whose first arm beats all others by more."""
    noise = rng.uniform(-0.1, 0.1, (count, ARMS, ARMS))
    half = np.triu(noise, 1)
    half[:, 0, 1:] = rng.uniform(0.25, 0.4, (count, ARMS - 1))
    return 0.5 + half - np.swapaxes(half, 1, 2)


def _bounds(keys, preference, beta, alpha, samples, iterations, log_class):
    """Distances (seeds,) and the decimal logarithms of the printed and the corrected bound."""
    if log_class is None:
        log_class = float(theory.tabular_entropy(preference.shape[1], samples, 1.0))
    numbers = (float(beta), float(alpha), float(samples), float(log_class))
    out = _runs(keys, jnp.asarray(preference), *map(jnp.asarray, numbers), iterations)
    distance, printed, corrected = (np.asarray(part) for part in out)
    return distance, printed / np.log(10.0), corrected / np.log(10.0)


def _one_run(key, preference, beta, alpha, samples, log_class, iterations):
    arms = preference.shape[0]
    game = Game(preference[None], jnp.full((1, arms), -jnp.log(arms)))
    solution = run(
        game,
        SPPO(),
        Constant(alpha),
        beta=beta,
        iterations=iterations,
        samples=samples,
        key=key,
        reward_bound=0.5,
        save="path",
    )
    assert solution.behaviour is not None
    rewards = jax.vmap(game.win_rate)(solution.behaviour[:-1])
    exact = theory.closed_form(game, rewards, alpha, beta)
    last = solution.final_log_policy
    distance = jnp.sum(jnp.abs(jnp.exp(last) - jnp.exp(exact))) / 2
    kappa = theory.coverage(last, exact, solution.behaviour[:-1])
    # Rewards are probabilities, so R = 1 for all policies one step away; more if the run met more.
    met = theory.assumptions(game, solution, beta).reward_bound_all_pairs
    reward_bound = jnp.maximum(met, 1.0)
    rest = (alpha, beta, samples, reward_bound, log_class, DELTA)
    printed = theory.log_tv_statistical(kappa.log_printed, *rest, flavour="printed")
    corrected = theory.log_tv_statistical(kappa.log_corrected, *rest, flavour="corrected")
    return distance, printed, corrected


_runs = jax.jit(jax.vmap(_one_run, in_axes=(0, 0, None, None, None, None, None)), static_argnums=6)


def _draw(figure: Figure, small, large, rates) -> None:
    left, right = figure.subplots(1, 2)
    count = small[0][0].size
    ends = np.array([judge.clopper_pearson(round(rate * count), count) for rate in rates]).T
    left.fill_between(BETAS, *ends, color="C0", alpha=0.25, lw=0)
    left.plot(BETAS, rates, "o-", label="measured, 95 % interval")
    left.axhline(DELTA, color="C1", label=r"allowed, $\delta$")
    left.set(
        xscale="log", xlabel=r"proximal weight $\beta$", ylabel="share of runs above the bound"
    )
    left.set(title="two arms: printed lemma fails")
    left.invert_xaxis()
    left.legend(loc="upper left")
    for index, colour, label in ((1, "C1", r"printed $\kappa$"), (2, "C2", r"corrected $\kappa$")):
        low, mid, high = np.percentile([row[index] for row in large], [2.5, 50, 97.5], axis=1)
        right.fill_between(BETAS, low, high, color=colour, alpha=0.25, lw=0)
        right.plot(BETAS, mid, color=colour, label=label)
    logs = np.log10([np.maximum(row[0], 1e-300) for row in large])
    low, mid, high = np.percentile(logs, [2.5, 50, 97.5], axis=1)
    right.fill_between(BETAS, low, high, color="C0", alpha=0.25, lw=0)
    right.plot(BETAS, mid, "o-", color="C0", label="measured")
    right.axhline(0.0, color="0.5", ls="--", lw=1)
    right.set(xscale="log", yscale="symlog", xlabel=r"proximal weight $\beta$")
    right.set(ylabel=r"$\log_{10}$ total variation", title="random games: empty once repaired")
    right.invert_xaxis()
    right.legend(loc="lower left")
