"""N17: a certificate for a run, from its own labels."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from apo_sim import theory
from apo_sim.claims import judge
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.momentum import Constant
from apo_sim.preferences import Pairwise, draw_counts
from apo_sim.problems import Bandit
from apo_sim.running import run
from apo_sim.studies.caption import caption
from apo_sim.sweep.lanes import over_lanes
from apo_sim.theory import likelihood_ball
from apo_sim.theory.certificate import Certificate, certify, surface

ARMS, ITERATIONS, DELTA, REWARD_BOUND = 10, 3, 0.05, 1.0
SAMPLES = (100, 2_000, 20_000)
TIGHT = {2_000: 0.3, 20_000: 0.1}  # the largest median excess over the true gap
# beta, alpha, and the R that the method fits within, which may exclude the true rewards.
SETTINGS = ((1.0, 0.3, 2.0), (0.2, 0.9, 2.0), (1.0, 0.3, 0.25), (1.0, 0.0, 20.0))
GREEDY = (0.05, 0.0, 2.0)
LEAD = 2.6  # of the hard family's best arm, in standard errors of the first iteration
VERSIONS = {"asymptotic": False, "finite-sample": True}
FAMILIES = ("uniform", "Zipf reference", "rare best arm", "ties")
HARD = "one arm leads by a hair, greedy"


@claim(
    id="N17",
    title="A certificate from the labels",
    source="ours",
    statement=(
        r"With probability at least $1 - \delta$ over the labels of a run that collects its own "
        r"data, $$\mathrm{gap}(\hat\pi_T) \le \max_{r:\,\ell(r)\ge c}\;\max_y\; r(y) - "
        r"E_{\hat\pi_T} r,$$ $\ell$ the Bradley-Terry log-likelihood of all labels, $c = "
        r"\max\ell - \frac12\chi^2_{K-1,1-\delta}$ (asymptotic) or $\log\int e^\ell d\Pi - "
        r"\log\frac1\delta$ (for every N). At K = 10, T = 3, $\alpha = 0.3$, $\beta = 1$ it "
        r"exceeds the gap by at most 0.3 (N = 2,000) and 0.1 (N = 20,000) in the median."
    ),
    control="half of the radius",
    scope=Scope(
        "with probability",
        "random bandits of four families with a bounded reward, and a hard one for greedy runs",
        arms=ARMS,
        iterations=ITERATIONS,
        beta=sorted({GREEDY[0], *(beta for beta, _, _ in SETTINGS)}),
        samples=SAMPLES,
        alpha=sorted({alpha for _, alpha, _ in SETTINGS}),
    ),
)
def certificate(study: Study) -> Finding:
    r"""Count how often the gap of a sampled run is above its certificate, and by how much below.

    Problem: uniform rewards with a uniform, a Zipf or a one-percent reference, and rewards on
    three levels; DPO at several alpha and beta, also fitted within an R that excludes the true
    rewards; and the hard case, where one arm leads all others by a few standard errors and a
    small beta follows the noise of the labels.

    Method: the certificate (delta = 0.05, $|r^*| \le 1$) of every run whose likelihood ball misses
    the true reward; it cannot fail for the others. Clopper-Pearson intervals of the failure rate
    in every family and at every N, corrected for all cells and both versions. The excess over the
    gap at the paper's own numbers, median over bandits.

    Guarantee: the finite-sample version is proven (Ville's inequality), the asymptotic one by
    Wilks' theorem, as N grows. Both hold for every policy at once, which half of the radius does
    not: the hard family shows it.

    Reference: ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("N17").title
        'A certificate from the labels'
    """
    seeds = study.pick(100, 500)
    found = _coverage(dataclasses.replace(study, variant="stated"), seeds)
    share = 0.5 if study.wrong else 1.0
    if study.wrong:
        found = {place: found[place] for place in ((HARD, 2_000),)}
    cells = {
        (version, *place): _failures(runs, finite_sample, share)
        for place, runs in found.items()
        for version, finite_sample in VERSIONS.items()
        if not (study.wrong and finite_sample)
    }
    rates = {
        cell: judge.failure_rate(
            int(failed.sum()),
            failed.size,
            DELTA,
            confidence=judge.together(len(cells)),
            witness={"version": cell[0], "family": cell[1], "N": cell[2]},
        )
        for cell, failed in cells.items()
    }
    decisive = judge.worst(sorted(rates.values(), key=lambda rate: -float(rate.measured or 0.0)))
    if study.wrong:
        return decisive
    curves = _curves(study, study.pick(40, 400))
    medians = {n: float(np.median(curves.excess["asymptotic"][row])) for row, n in _rows(curves)}
    tight = judge.upper_bound(
        [_upper_median(curves.excess["asymptotic"][row]) for row, n in _rows(curves) if n in TIGHT],
        list(TIGHT.values()),
        unit="reward",
    )
    row = curves.samples.index(20_000)
    wider = np.median(curves.radius["finite-sample"][row] / curves.radius["asymptotic"][row])
    failed = {
        version: sum(int(f.sum()) for c, f in cells.items() if c[0] == version)
        for version in VERSIONS
    }
    trials = sum(f.size for c, f in cells.items() if c[0] == "asymptotic")
    return dataclasses.replace(
        judge.worst([decisive, tight]),
        instances=trials,
        facts={
            "runs": trials,
            **{f"runs above the bound, {version}": count for version, count in failed.items()},
            **{f"median excess at N = {n:,}": medians[n] for n in TIGHT},
            "finite-sample radius over asymptotic at N = 20,000": float(wider),
        },
        note=(
            f"The gap is above the certificate in {failed['asymptotic']} of {trials:,} runs "
            f"(asymptotic) and in {failed['finite-sample']} (finite-sample); the median excess is "
            f"{medians[2_000]:.2f} at N = 2,000 and {medians[20_000]:.3f} at N = 20,000, and the "
            f"finite-sample radius {wider:.1f} times as wide."
        ),
        draw=lambda figure: _draw(figure, curves),
    )


@dataclasses.dataclass(frozen=True)
class Runs:
    """Sampled runs, axis (runs,): true reward, gap, log pi_hat_T, counts of all iterations."""

    reward: np.ndarray
    gap: np.ndarray
    log_policy: np.ndarray
    wins: np.ndarray
    log_bound: np.ndarray


@dataclasses.dataclass(frozen=True)
class Curves:
    """What the figure shows, (samples, runs): excess over the gap, and of the paper's bound."""

    samples: tuple[int, ...]
    excess: dict[str, np.ndarray]
    radius: dict[str, np.ndarray]
    log_paper: np.ndarray


# Only the runs are shared by the variants: what they do with the certificates differs.
@functools.lru_cache(maxsize=1)
def _coverage(study: Study, seeds: int) -> dict[tuple[str, int], Runs]:
    """The runs of every family and number of samples, all of them independent."""
    found = {}
    for row, samples in enumerate(SAMPLES):
        for number, name in enumerate(FAMILIES):
            parts = [
                _runs(
                    study.subkey(1000 * row + 100 * number + place),
                    _bandits(name, study.rng(1000 * row + 100 * number + place), seeds),
                    samples,
                    *setting,
                )
                for place, setting in enumerate(SETTINGS)
            ]
            found[name, samples] = _joined(parts)
        bandits = _hard_bandits(samples, len(SETTINGS) * seeds)
        found[HARD, samples] = _runs(study.subkey(9000 + row), bandits, samples, *GREEDY)
    return found


def _failures(runs: Runs, finite_sample: bool, share: float) -> np.ndarray:
    """Whether the gap is above estimate + share * radius; for the whole radius tried where it can.

    A run whose labels refute the range of rewards has no certificate, and counts as a failure.
    """
    wins = runs.wins * (1 - np.eye(ARMS))
    fit = likelihood_ball.fitted(wins)
    level = surface(wins, fit, DELTA, finite_sample)
    missed = likelihood_ball.log_likelihood_ratio(runs.reward, wins, fit.rewards) < level
    within = likelihood_ball.fitted_within(wins, REWARD_BOUND)
    failed = likelihood_ball.log_likelihood_ratio(within, wins, fit.rewards) <= level
    tried = np.flatnonzero((missed | (share < 1)) & ~failed)
    if tried.size:
        found = _certified(runs, tried, finite_sample)
        failed[tried] = found.estimate + share * found.radius < runs.gap[tried]
    return failed


def _certified(runs: Runs, which: Any, finite_sample: bool) -> Certificate:
    return certify(
        runs.wins[which][..., None, :, :],
        runs.log_policy[which][..., None, :],
        delta=DELTA,
        reward_bound=REWARD_BOUND,
        finite_sample=finite_sample,
    )


def _curves(study: Study, seeds: int) -> Curves:
    """Certificates of the paper's setting against the number of samples."""
    samples = (100, 500, 2_000, 20_000, 200_000)
    bandits = _bandits("uniform", study.rng(7000), seeds)
    runs = [_runs(study.subkey(7001), bandits, n, *SETTINGS[0]) for n in samples]
    excess, radius = {}, {}
    for version, finite_sample in VERSIONS.items():
        found = [_certified(part, slice(None), finite_sample) for part in runs]
        excess[version] = np.stack([f.bound - r.gap for f, r in zip(found, runs, strict=True)])
        radius[version] = np.stack([f.radius for f in found])
    return Curves(samples, excess, radius, np.stack([part.log_bound for part in runs]))


def _rows(curves: Curves) -> list[tuple[int, int]]:
    return list(enumerate(curves.samples))


def _upper_median(values: np.ndarray) -> float:
    """The upper end of a distribution-free 95 % interval for the median of all cells."""
    confidence = judge.together(len(TIGHT))
    place = int(stats.binom.isf((1 - confidence) / 2, values.size, 0.5))
    return float(np.sort(values)[min(place, values.size - 1)])


def _bandits(name: str, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and log-references of a family, each (count, K); as in `apo_sim.families`."""
    reward = rng.uniform(-1, 1, (count, ARMS))
    weights = np.ones((count, ARMS))
    if name == "Zipf reference":
        weights = rng.permuted(np.tile(np.arange(1.0, ARMS + 1) ** -1.5, (count, 1)), axis=1)
    if name == "rare best arm":
        best = np.arange(ARMS) == np.argmax(reward, axis=1)[:, None]
        rest = np.where(best, 0.0, rng.standard_exponential((count, ARMS)))
        weights = np.where(best, 0.01, 0.99 * rest / rest.sum(axis=1, keepdims=True))
    if name == "ties":
        reward = rng.integers(-1, 2, (count, ARMS)).astype(float)
    return reward, np.log(weights / weights.sum(axis=1, keepdims=True))


def _hard_bandits(samples: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """One arm leads all others by `LEAD` standard errors of a difference of two arms."""
    # An arm meets others in 2 N (K - 1) / K^2 pairs, each of information 1/4.
    error = np.sqrt(2 * 4 * ARMS**2 / (2 * samples * (ARMS - 1)))
    lead = min(LEAD * error, 2 * REWARD_BOUND)
    reward = np.where(np.arange(ARMS) == 0, lead / 2, -lead / 2)
    return np.tile(reward, (count, 1)), np.full((count, ARMS), -np.log(ARMS))


def _runs(
    key: jax.Array,
    bandits: tuple[np.ndarray, np.ndarray],
    samples: int,
    beta: float,
    alpha: float,
    reward_bound: float,
) -> Runs:
    reward, log_ref = bandits
    count = len(reward)
    numbers = {"samples": samples, "beta": beta, "alpha": alpha, "bound": reward_bound}
    lanes: dict[str, Any] = {n: np.full(count, float(value)) for n, value in numbers.items()}
    lanes |= {"reward": reward, "log_ref": log_ref, "key": jax.random.split(key, count)}
    return Runs(reward, *over_lanes(_run, lanes, at_once=60))


def _run(lane: dict[str, Any]) -> tuple[jax.Array, ...]:
    bandit = Bandit(lane["reward"][None], lane["log_ref"][None])
    solution = run(
        bandit,
        momentum=Constant(lane["alpha"]),
        beta=lane["beta"],
        iterations=ITERATIONS,
        samples=lane["samples"],
        key=lane["key"],
        reward_bound=lane["bound"],
        save="path",
    )
    behaviour = solution.path.behaviour

    def labels(t: Any, policy: Any) -> jax.Array:
        key = jax.random.fold_in(lane["key"], t)  # the labels of the run, once more
        return draw_counts(key, Pairwise(), bandit, policy, lane["samples"])

    each = jax.lax.map(lambda at: labels(*at), (jnp.arange(ITERATIONS), behaviour[:-1]))
    final, gamma = solution.path.log_policy[-1], solution.gamma[-1]
    kappa = theory.coverage(final, theory.exact_policy(bandit, gamma), behaviour[:-1])
    entropy = theory.tabular_entropy(ARMS, lane["samples"], lane["bound"])
    statistics = theory.log_tv_statistical(
        kappa.log_printed,
        lane["alpha"],
        lane["beta"],
        lane["samples"],
        lane["bound"],
        entropy,
        DELTA,
        flavour="printed",
    )
    optimisation = jnp.log(-bandit.log_best_ref[0] / gamma)
    log_bound = jnp.logaddexp(jnp.log(2.0) + statistics, optimisation)
    return solution.suboptimality[-1], final[0], jnp.sum(each, axis=0)[0], log_bound


def _joined(parts: list[Runs]) -> Runs:
    names = [field.name for field in dataclasses.fields(Runs)]
    return Runs(*(np.concatenate([getattr(part, n) for part in parts]) for n in names))


def _draw(figure: Figure, curves: Curves) -> None:
    axes = figure.subplots()
    paper = np.exp(curves.log_paper)
    axes.axhline(2.0, color="0.5", linestyle=":", label="trivial bound")
    axes.loglog(curves.samples, np.median(paper, axis=1), "s--", color="C3", label="Theorem 4.4")
    for (version, excess), colour in zip(curves.excess.items(), ("C0", "C2"), strict=True):
        low, middle, high = np.quantile(excess, (0.1, 0.5, 0.9), axis=1)
        axes.loglog(curves.samples, middle, "o-", color=colour, label=f"certificate, {version}")
        axes.fill_between(curves.samples, low, high, color=colour, alpha=0.15, linewidth=0)
    for n, limit in TIGHT.items():
        axes.plot([n / 1.4, n * 1.4], [limit, limit], color="k", linewidth=2)
    axes.set(xlabel="pairs an iteration, $N$", ylabel="excess over the true gap (reward)")
    figure.legend(loc="outside lower center", ncols=4, fontsize=7.5)
    caption(
        figure,
        f"K = {ARMS}, T = {ITERATIONS}, α = 0.3, β = 1, δ = {DELTA}; medians and bands of 80 % of\n"
        f"{curves.log_paper.shape[1]} bandits; black bars: the excess that is claimed, asymptotic",
    )
