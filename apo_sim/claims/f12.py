"""F12: from how many labels a round on it pays to let the policy in training collect them."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import judge
from apo_sim.claims._coverage import (
    REWARD,
    UPDATES,
    reference,
    sharpness,
    tilted,
    uncertainty,
)
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.estimate import Estimate
from apo_sim.loop import solve
from apo_sim.methods import RLHF
from apo_sim.methods.accelerated import Accelerated
from apo_sim.methods.reward_sources import FittedReward
from apo_sim.momentum import Constant
from apo_sim.preferences import FromPolicy, FromReference, Mixture, Pairwise
from apo_sim.problems import Bandit
from apo_sim.statistics import percentile_ends
from apo_sim.studies.caption import caption
from apo_sim.sweep.lanes import over_lanes

MASSES = (0.03, 0.01, 0.003)
SEEN = (0.5, 2.0, 8.0, 32.0, 128.0)  # N p: how often one round draws a good arm, over two
ALPHAS = (-0.5, 0.0, 0.9)
MIXED = 0.25  # share of the responses that come from the reference, in place of momentum
COLOURS = ("C2", "C0", "C3")
HALF = 0.5  # of the offline error; where on-policy labels begin to win, the ratio is 1
SCARCE = 2.0  # N p below the threshold
PLANTED = 0.5  # nats; the target is 0.7 from the best policy that has never met a good arm


@claim(
    id="F12",
    title="On-policy coverage threshold",
    source="ours",
    statement=r"Reference fixed, reward refitted to all labels so far, $\pi^* \propto "
    r"\pi_{\mathrm{ref}}e^{r^*/\beta}$: after $T$ rounds of $N$ labels that the policy in "
    r"training collects, $\mathbb{E}\,\mathrm{KL}(\hat\pi_T\|\pi^*)$ is smaller than after $NT$ "
    r"labels of $\pi_{\mathrm{ref}}$; with momentum in who collects, too.",
    control=f"a loss of {PLANTED * 2:g} nats put on every run whose policy collects",
    power=f"a gain of {PLANTED:g} nats in place of the mean change of every cell",
    scope=Scope(
        "where",
        "four arms, two of them good (rewards 1 and 0.8), each of a reference mass p of "
        f"{', '.join(map(str, MASSES))}; β such that the best arm ends with half of the mass",
        arms=4,
        iterations=UPDATES,
        beta="1/log(1.5/p)",
        samples=f"such that N p is {', '.join(f'{seen:g}' for seen in SEEN)}",
        alpha=ALPHAS,
    ),
)
def coverage_threshold(study: Study) -> Finding:
    r"""Map where on-policy labels leave a smaller error, by how often a round meets a good arm.

    Problem: the source has, for log-linear policies, that on-policy DPO with a fixed reference
    converges exponentially above a batch size that is a measure of coverage, and offline learners
    more slowly. Its abstract is what could be read; the threshold here is ours, measured: the
    labels a round from which the mean error is half of that of as many labels of the reference,
    and beside it those from which it is smaller at all.

    Method: paired runs on the same keys, Student's intervals corrected for all cells; the threshold
    by interpolation, with a bootstrap over seeds.

    Guarantee: statistical. Above the threshold the number of labels n times the mean KL divergence
    tends to tr(V I^+)/(2 beta^2), V the covariance of the best policy and I the mean Fisher
    information of a label on two responses: of the reference offline, of the best policy from the
    second round on otherwise. So the gain is one of coverage, reached in one round,
    and the error then falls as 1/n. For a table, uniform pairs are the G-optimal design. Below the
    threshold a good arm that loses the few comparisons it was in is all but given up: a negative
    extrapolation pays there, and momentum does not; a share of the reference's responses pays most.

    Reference: Kim, Yun, Lee and Jun (2026), "Coverage improvement and fast convergence of on-policy
    preference learning", the abstract; the rest is ours.

    Example:
        >>> offline, online = (leading(0.01, on_policy) for on_policy in (False, True))
        >>> round(offline), round(online)
        (1246, 88)
    """
    count = study.pick(quick=250, full=2000)
    offline, online, mixed = _measured(dataclasses.replace(study, variant="stated"), count)
    change = {alpha: online[alpha] - offline for alpha in ALPHAS}
    if study.wrong:
        change = {alpha: each + 2 * PLANTED for alpha, each in change.items()}
    if study.planted:
        change = {
            alpha: each - each.mean(axis=-1, keepdims=True) - PLANTED
            for alpha, each in change.items()
        }
    cells = {
        _name(alpha, p, seen): change[alpha][i, j]
        for alpha in ALPHAS
        for i, p in enumerate(MASSES)
        for j, seen in enumerate(SEEN)
    }
    finding = judge.where(
        judge.estimates(cells),
        unit="cells where on-policy labels leave less error",
        instances=len(cells) * count,
    )
    assert finding.regions is not None
    regions = finding.regions
    resampled = _resampled(study, offline, online)
    thresholds = _thresholds(resampled, HALF)
    # With a negative extrapolation the ratio is below 1 on all of the grid.
    even = _thresholds({alpha: resampled[alpha] for alpha in ALPHAS if alpha >= 0}, 1.0)
    largest = {"offline": offline, "on-policy": online[0.0]}
    labels = UPDATES * SEEN[-1] / np.array(MASSES)
    scaled = {
        name: float(np.mean(labels * error[:, -1].mean(axis=-1) / _leading(name == "on-policy")))
        for name, error in largest.items()
    }
    caution, momentum = (thresholds[a] / thresholds[0.0] for a in (ALPHAS[0], ALPHAS[-1]))
    at_most = judge.together(len(thresholds) + len(even) + 2)
    place = SEEN.index(SCARCE)
    scarce = {
        name: float(np.mean(error[:, place]) / np.mean(offline[:, place]))
        for name, error in {
            **{f"alpha {alpha:g}": error for alpha, error in online.items()},
            "a quarter from the reference": mixed,
        }.items()
    }
    found = {
        **{f"threshold N p, alpha {alpha:g}": each for alpha, each in thresholds.items()},
        **{f"break-even N p, alpha {alpha:g}": each for alpha, each in even.items()},
        f"threshold over that of alpha 0, alpha {ALPHAS[0]:g}": caution,
        f"threshold over that of alpha 0, alpha {ALPHAS[-1]:g}": momentum,
    }
    return dataclasses.replace(
        finding,
        facts={
            **{name: _estimate(each, at_most) for name, each in found.items()},
            "threshold N p by p, alpha 0": {
                str(p): _crossing(online[0.0][i].mean(axis=-1) / offline[i].mean(axis=-1))
                for i, p in enumerate(MASSES)
            },
            f"error over the offline one at N p = {SCARCE:g}": scarce,
            **{f"error over leading order, {name}": each for name, each in scaled.items()},
            "gain in the limit by p": {
                str(p): leading(p, False) / leading(p, True) for p in MASSES
            },
        },
        note=f"Without momentum the error is below the offline one from $Np = {even[0.0][0]:.1f}$ "
        f"and half of it from {thresholds[0.0][0]:.1f} on, with $\\alpha = 0.9$ from "
        f"{even[ALPHAS[-1]][0]:.1f} and {thresholds[ALPHAS[-1]][0]:.1f}. At "
        f"$Np = {SCARCE:g}$ it is {scarce['alpha 0']:.1f} times the offline one, with a quarter of "
        f"the responses from the reference {scarce['a quarter from the reference']:.2f} times.",
        draw=lambda figure: _draw(figure, offline, online, mixed, regions),
    )


class Lanes(NamedTuple):
    """One run a lane: mass of a good arm, labels a round, extrapolation, who collects, seed.

    Who collects is the share of the responses that come from the reference policy.
    """

    p: Any
    samples: Any
    alpha: Any
    share: Any
    seed: Any


def leading(p: float, on_policy: bool) -> float:
    """n E KL(pi_hat_T || pi*) of n labels in T rounds, to leading order in 1/n."""
    target, first = tilted(p, sharpness(p)), reference(p)
    # Whoever collects, the first round is the reference's; after it the policy is the target.
    behaviours = [first] + [target if on_policy else first] * (UPDATES - 1)
    return sharpness(p) ** 2 / 2 * uncertainty(target, behaviours)


def _leading(on_policy: bool) -> np.ndarray:
    return np.array([leading(p, on_policy) for p in MASSES])


# The variants of the check share the runs.
@functools.lru_cache(maxsize=1)
def _measured(study: Study, count: int) -> tuple[np.ndarray, dict[float, np.ndarray], np.ndarray]:
    """KL(pi_hat_T || pi*) offline, shape (masses, N, seeds), on-policy by alpha, and mixed."""
    seeds = study.rng().integers(2**32, size=count, dtype=np.uint32)
    learners = [(0.0, 1.0), (0.0, MIXED), *((alpha, 0.0) for alpha in ALPHAS)]
    shape = (len(learners), len(MASSES), len(SEEN), count)
    k, i, j, s = (index.ravel() for index in np.indices(shape))
    p = np.array(MASSES)[i]
    samples = np.round(np.array(SEEN)[j] / p)
    alpha, share = np.array(learners)[k].T
    found = over_lanes(_lane, Lanes(p, samples, alpha, share, seeds[s])).reshape(shape)
    return found[0], dict(zip(ALPHAS, found[2:], strict=True)), found[1]


def _lane(lane: Lanes) -> Any:
    weight = jnp.log(1.5 / lane.p)
    rest = 0.5 - lane.p
    reward = jnp.asarray(REWARD)[None]
    bandit = Bandit(reward, jnp.log(jnp.stack([lane.p, lane.p, rest, rest]))[None])
    collects = Mixture(jnp.stack([1.0 - lane.share, lane.share]), (FromPolicy(), FromReference()))
    source = FittedReward(ranker=Pairwise(collects, collects))
    method = Accelerated(
        RLHF(1.0 / weight, source, online=True), Constant(lane.alpha, unrestricted=True)
    )
    key = jax.random.key(lane.seed)
    run = solve(bandit, method, iterations=UPDATES, samples=lane.samples, key=key)
    target = jax.nn.log_softmax(bandit.log_ref + weight * reward, axis=1)
    found = run.final_log_policy
    return jnp.sum(jnp.exp(found) * (found - target))


def _resampled(
    study: Study, offline: np.ndarray, online: Mapping[float, np.ndarray]
) -> dict[float, np.ndarray]:
    """On-policy errors over the others, a row for all seeds, then one for each resample of them."""
    rng, count = study.rng(1), offline.shape[-1]
    drawn = rng.integers(count, size=(study.pick(quick=1000, full=3000), count))
    rows = np.concatenate([np.arange(count)[None], drawn])
    # Of all masses together: the errors are of one size.
    below = offline.mean(axis=0)[:, rows].mean(axis=-1)
    return {
        alpha: (error.mean(axis=0)[:, rows].mean(axis=-1) / below).T
        for alpha, error in online.items()
    }


def _thresholds(ratios: Mapping[float, np.ndarray], level: float) -> dict[float, np.ndarray]:
    """N p from which each row of the ratios is below the level."""
    return {
        alpha: np.array([_crossing(ratio, level) for ratio in rows])
        for alpha, rows in ratios.items()
    }


def _estimate(first_and_resampled: np.ndarray, confidence: float) -> Estimate:
    low, high = percentile_ends(first_and_resampled[1:], confidence)
    return Estimate(float(first_and_resampled[0]), float(low), float(high))


def _crossing(ratio: np.ndarray, level: float = HALF) -> float:
    """Where a ratio falls below the level for good, between the N p of the grid."""
    above = np.flatnonzero(ratio > level)
    if above.size == 0:
        return SEEN[0]
    last = above[-1]
    if last == len(SEEN) - 1:
        return SEEN[-1]
    x, y = np.log(SEEN[last : last + 2]), np.log(ratio[last : last + 2])
    return float(np.exp(np.interp(-np.log(level), -y, x)))


def _name(alpha: float, p: float, seen: float) -> str:
    return f"α = {alpha:g}, p = {p:g}, N p = {seen:g}"


def _draw(
    figure: Figure,
    offline: np.ndarray,
    online: Mapping[float, np.ndarray],
    mixed: np.ndarray,
    regions: Mapping[str, Mapping[str, Any]],
) -> None:
    counts = {answer: len(named) for answer, named in regions.items()}
    caption(
        figure,
        f"Left: p = {MASSES[1]:g}; dashed, leading order. Right: means over {offline.shape[-1]} "
        "seeds and all p. Of the cells, on-policy labels leave\nless error in "
        f"{counts['yes']}, more in {counts['no']}; {counts['undecided']} undecided.",
    )
    left, right = figure.subplots(1, 2)
    labels = UPDATES * np.array(SEEN) / MASSES[1]
    for on_policy, colour in ((False, "0.4"), (True, "C0")):
        bound = leading(MASSES[1], on_policy) / labels
        left.loglog(SEEN, bound, "--", color=colour, linewidth=1)
    learners = {
        "offline": ("0.4", offline),
        **{f"on-policy, α = {a:g}": (c, online[a]) for a, c in zip(ALPHAS, COLOURS, strict=True)},
        "a quarter from the reference": ("C4", mixed),
    }
    for name, (colour, error) in learners.items():
        left.loglog(SEEN, error[1].mean(axis=-1), "o-", color=colour, label=name)
        ratio = error.mean(axis=(0, 2)) / offline.mean(axis=(0, 2))
        right.loglog(SEEN, ratio, "o-", color=colour, label=name)
    left.set(xlabel="$Np$", ylabel=r"mean $\mathrm{KL}(\hat\pi_T\|\pi^*)$, nats", ylim=(1e-4, 3))
    left.set(title="Error")
    left.legend(loc="lower left", fontsize=7.5)
    right.axhline(HALF, color="0.6", linewidth=1, linestyle=":")
    right.set(xlabel="$Np$", ylabel="over that of offline labels", title="Who should collect")
