"""Verdicts that stop when their interval decides are wrong no more often than they may be."""

import bisect
import functools

import numpy as np
import pytest

from apo_sim.claims import Finding, Study, judge
from apo_sim.claims.adaptive import until_decided
from apo_sim.statistics import student

FIRST, MOST, DELTA, REPETITIONS = 100, 6400, 0.05, 1000
FULL = Study("planted", "full")


def judged(failures: int, seeds: int, confidence: float) -> Finding:
    most, least = thresholds(seeds, confidence)
    word = "holds" if failures <= most else "fails" if failures >= least else "not reproduced"
    return Finding(word)


@functools.cache
def thresholds(seeds: int, confidence: float) -> tuple[int, int]:
    """Up to how many failures the judge says `holds`, and from how many on `fails`."""

    def rank(failures: int) -> int:
        found = judge.failure_rate(failures, seeds, DELTA, confidence=confidence)
        return ("holds", "not reproduced", "fails").index(found.verdict)

    counts = range(seeds + 1)
    return bisect.bisect_left(counts, 1, key=rank) - 1, bisect.bisect_left(counts, 2, key=rank)


def of_share(share: float) -> tuple[list[str], float]:
    """The verdict of every repetition, and the mean number of seeds that all looks took."""
    rng = np.random.default_rng(int(1e6 * share))
    verdicts, taken = [], 0
    for failed in rng.random((REPETITIONS, MOST), dtype=np.float32) < share:

        def look(seeds: int, confidence: float, failed=failed) -> Finding:
            nonlocal taken
            taken += seeds
            return judged(int(np.count_nonzero(failed[:seeds])), seeds, confidence)

        verdicts.append(until_decided(FULL, look, quick=FIRST, full=MOST).verdict)
    return verdicts, taken / REPETITIONS


@pytest.mark.parametrize(
    ("share", "true", "fewer"),
    [(0.0, "holds", 0.1), (0.02, "holds", 0.2), (0.1, "fails", 0.3), (0.3, "fails", 0.05)],
)
def test_a_clear_share_is_decided_rightly_with_fewer_seeds(share, true, fewer):
    verdicts, seeds = of_share(share)
    assert verdicts.count(true) >= 0.99 * REPETITIONS
    wrong = REPETITIONS - verdicts.count(true) - verdicts.count("not reproduced")
    assert wrong <= 0.05 * REPETITIONS
    assert seeds < fewer * MOST


def test_a_share_at_the_limit_is_decided_no_more_often_than_the_level():
    verdicts, seeds = of_share(DELTA)
    decided = REPETITIONS - verdicts.count("not reproduced")
    # Above is what a rule of the level exceeds once in a thousand times.
    low, _ = judge.clopper_pearson(decided, REPETITIONS, 0.998)
    assert low <= 0.05
    assert MOST <= seeds <= 2 * MOST
    # Control: each look at the whole level is wrong far more often.
    assert of_share_without_correction() > 0.06


def of_share_without_correction() -> float:
    """How often one of the looks decides at the limit, each as if it were the only one."""
    rng = np.random.default_rng(0)
    sizes = [FIRST * 2**k for k in range(7)]
    failed = rng.random((REPETITIONS, MOST), dtype=np.float32) < DELTA
    counts = np.stack([np.count_nonzero(failed[:, :size], axis=1) for size in sizes])
    decided = np.array(
        [
            [judged(int(count), size, 0.95).verdict != "not reproduced" for count in row]
            for row, size in zip(counts, sizes, strict=True)
        ]
    )
    return float(decided.any(axis=0).mean())


@pytest.mark.parametrize(("mean", "true"), [(-0.5, "holds"), (0.5, "fails"), (0.0, None)])
def test_means_keep_the_level_too(mean, true):
    repetitions, most = 400, 320
    rng = np.random.default_rng(1)
    wrong = used = 0
    for samples in rng.normal(mean, 1.0, (repetitions, most)):

        def look(seeds: int, confidence: float, samples=samples) -> Finding:
            nonlocal used
            used += seeds
            low, high = student(samples[:seeds], confidence)
            return Finding("holds" if high <= 0 else "fails" if low > 0 else "not reproduced")

        verdict = until_decided(FULL, look, quick=10, full=most).verdict
        wrong += verdict not in (true, "not reproduced")
    assert judge.clopper_pearson(wrong, repetitions, 0.998)[0] <= 0.05
    assert true is None or used < 0.5 * repetitions * most


def test_at_quick_effort_there_is_one_look():
    asked = []

    def look(seeds: int, confidence: float) -> Finding:
        asked.append((seeds, confidence))
        return Finding("not reproduced")

    until_decided(Study("planted"), look, quick=FIRST, full=MOST)
    assert asked == [(FIRST, 0.95)]


def test_an_open_cell_is_looked_at_again():
    cells = {"here": (-1.0, -1.1, -0.9), "there": (0.0, -0.1, 0.1)}
    asked = []

    def look(seeds: int, confidence: float) -> Finding:
        asked.append(seeds)
        return judge.where({name: cells[name] for name in list(cells)[: 3 - len(asked)]})

    assert until_decided(FULL, look, quick=10, full=80).verdict == "holds"
    assert asked == [10, 20]
