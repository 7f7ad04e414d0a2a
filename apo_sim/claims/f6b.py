"""F6b: one rare comparison decides what greed does, however many labels there are."""

import dataclasses
import functools

import jax
import numpy as np
from matplotlib.figure import Figure

from apo_sim.claims import _pessimism as pessimism
from apo_sim.claims import judge
from apo_sim.claims.adaptive import until_decided
from apo_sim.claims.registry import claim
from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import Finding, Study
from apo_sim.studies.caption import caption

# Rewards 0.1, -1, 0 and -0.9. Arms 3 and 1 are compared, in one pair of n arms 1 and 2.
FEATURES = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
PARAMETER = np.array([-1.0, 0.1])
COMMON, RARE = (3, 1), (1, 2)
# Arms that the fit finds alike: the first one is taken.
ORDERS = {"for the best arm": (0, 1, 2, 3), "against it": (3, 1, 2, 0)}
LABELS = (1e2, 1e3, 1e4, 1e5, 1e6, 1e7)
LOSS, LEFT = 0.1, 0.01
VANISHING = LABELS[-2:]


@claim(
    id="F6b",
    title="Greed fails where pessimism does not",
    source="ours",
    statement=r"Four arms of rewards 0.1, $-1$, 0 and $-0.9$, linear in two features; of $n$ labels"
    r" about one is of the pair that tells of the first feature. The mean gap of the arm that the "
    r"likeliest parameter finds best is at least 0.1 at every $n$; that of pessimism with $\lambda "
    r"= 1/n$ goes to 0.",
    control="pessimism in place of greed",
    scope=Scope(
        "for all",
        "the bandit of the statement, which changes with n",
        arms=pessimism.ARMS,
        iterations=1,
        samples=LABELS,
    ),
)
def greed_fails(study: Study) -> Finding:
    r"""Count how often greed takes the arm of reward -0.9, at every n; and pessimism's gap.

    Problem: the common pair tells of the second feature alone. The number of rare labels is about
    Poisson of mean 1; where most of them are won by the worse arm, of probability 0.12, the sign
    of the first feature is wrong, and greed takes the arm of reward -0.9. Where there is none
    (0.37), or a draw, the fit finds that arm and the best one alike.

    Method: many runs at each n, with ties that fall for the best arm, which is judged, and against
    it. The share of runs that lose 1 or more, which the mean gap cannot be below, has
    Clopper-Pearson's interval, corrected for the cells.

    Guarantee: the theorem's, which compares a rare pair exactly once. Pessimism goes to the best
    arm from some n on, here 1e5, with a gap as 1/sqrt(n) left over; below, it takes the arm whose
    features are 0, at a loss of 0.1 for certain, which is no better than greed. With a fixed
    lambda its gap does not go to 0: lambda B^2 of the radius stays.

    Reference: Zhu, Jordan and Jiao (2023), Theorem 3.9.

    Example:
        >>> lanes = four_arms(np.array([1e3]), 0)
        >>> (lanes.features[0, 0] @ lanes.parameter[0]).round(3).tolist()
        [0.1, -1.0, 0.0, -0.9]
    """
    return until_decided(study, functools.partial(_look, study), quick=5000, full=20_000)


def _look(study: Study, seeds: int, at_most: float) -> Finding:
    runs = _measured(study.sweep_seed(), seeds)
    favourable = runs["for the best arm"]
    judged = favourable.pessimistic if study.wrong else favourable.greedy
    confidence = judge.together(len(LABELS) + len(VANISHING), at_most)
    lost = judged >= 1 - 1e-6
    parts = [
        judge.failure_rate(
            int(seeds - each.sum()),
            seeds,
            1 - LOSS,
            confidence=confidence,
            witness={"labels": n, "mean gap": gap.mean()},
            unit="share of runs that lose less than 1",
        )
        for n, each, gap in zip(LABELS, lost, judged, strict=True)
    ]
    careful = {n: favourable.pessimistic[LABELS.index(n)] for n in VANISHING}
    vanishing = [
        judge.upper_bound(
            judge.mean_interval(each, confidence)[1], LEFT, witness={"labels": n}, unit="reward"
        )
        for n, each in careful.items()
    ]
    greedy = {name: each.greedy.mean(axis=1) for name, each in runs.items()}
    pessimistic = favourable.pessimistic.mean(axis=1)
    decisive = max(parts, key=lambda part: float(part.measured or 0.0))
    verdict = judge.worst([*parts, *vanishing])
    return dataclasses.replace(
        decisive if decisive.verdict == verdict.verdict else verdict,
        cells=len(parts) + len(vanishing),
        instances=seeds * len(LABELS),
        facts={
            **{
                f"mean gap of greed, ties {name}, n = {n:.0e}": float(gap)
                for name, gaps in greedy.items()
                for n, gap in zip(LABELS, gaps, strict=True)
            },
            **{
                f"mean gap of pessimism, n = {n:.0e}": float(gap)
                for n, gap in zip(LABELS, pessimistic, strict=True)
            },
        },
        note=f"At n = {LABELS[-1]:.0e} greed loses {greedy['for the best arm'][-1]:.3f} where "
        f"ties fall for the best arm and {greedy['against it'][-1]:.3f} where they fall against "
        f"it, pessimism {pessimistic[-1]:.0e}. Up to n = 1e+04 pessimism loses "
        f"{pessimistic[2]:.2f}.",
        draw=lambda figure: _draw(figure, greedy, pessimistic),
    )


def four_arms(
    labels: np.ndarray, seed: int, order: tuple[int, ...] = (0, 1, 2, 3)
) -> pessimism.Lanes:
    """The bandit for each number of labels, its arms in that order, at lambda = 1/n.

    Args:
        labels: n, shape (lanes,).
        seed: of the keys, one a lane.
        order: the place of each arm; of equals the first is taken.
    """
    lanes, rare = labels.size, 1 / labels
    law = np.zeros((lanes, pessimism.ARMS, pessimism.ARMS))
    law[:, *COMMON], law[:, *RARE] = 1 - rare, rare
    law = (law + np.swapaxes(law, 1, 2))[:, order][:, :, order]
    features = FEATURES[list(order)]
    return pessimism.Lanes(
        np.broadcast_to(features, (lanes, 1, *features.shape)),
        np.broadcast_to(PARAMETER, (lanes, *PARAMETER.shape)),
        law,
        rare,
        labels,
        np.asarray(jax.random.key_data(jax.random.split(jax.random.key(seed), lanes))),
    )


@functools.lru_cache(maxsize=3)
def _measured(seed: int, seeds: int) -> dict[str, pessimism.Runs]:
    """What becomes of greed and pessimism, by the fall of ties, shapes (labels, seeds)."""
    found = {}
    # What is not judged needs fewer.
    for count, (name, order) in zip((seeds, seeds // 5), ORDERS.items(), strict=True):
        runs = pessimism.run(four_arms(np.repeat(LABELS, count), seed, order))
        found[name] = pessimism.Runs(*(each.reshape(len(LABELS), count) for each in runs))
    return found


def _draw(figure: Figure, greedy: dict[str, np.ndarray], pessimistic: np.ndarray) -> None:
    caption(
        figure, "Mean gap over the data sets; greed takes the first of arms that it finds alike"
    )
    axes = figure.subplots()
    for (name, gaps), marker in zip(greedy.items(), ("o", "s"), strict=True):
        axes.loglog(LABELS, gaps, f"{marker}-", color="C3", label=f"greed, ties {name}")
    axes.loglog(LABELS, pessimistic, "o-", color="C0", label="pessimism, λ = 1/n")
    axes.axhline(LOSS, color="0.5", linestyle="--", linewidth=1)
    axes.set(xlabel="labels $n$", ylabel="mean gap")
    axes.legend(loc="lower left")
