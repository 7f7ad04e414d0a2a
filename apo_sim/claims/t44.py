"""Theorem 4.4: the gap of a sampled run, optimisation error plus statistical error."""

import numpy as np

from apo_sim import theory
from apo_sim.claims._theorem import CONTROL, REPAIR, SCOPE, Theorem, judge_theorem
from apo_sim.claims._two_arms import COVERAGE
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

THEOREM = Theorem(
    measure="gap",
    unit="gap (reward)",
    factor=2.0,
    optimisation=lambda log_p, _, gamma: np.asarray(
        theory.gap_gibbs(None, gamma, log_p_star=log_p)
    ),
    trivial=2.0,
)


@claim(
    id="T4.4",
    title="The gap is optimisation plus statistics",
    source="paper",
    statement=r"With $\kappa_t$ as printed in (4.1) and probability at least $1 - \delta$: "
    r"$$\mathrm{gap}(\hat\pi_T) \le \frac{\log(1/p)}{\gamma_T} + \frac{2}{\sigma'(1+R)} "
    r"\sqrt{\frac{T \sum_t \kappa_t \log(T|\Pi|/\delta)}{N \beta^2 (1-\alpha)^2}},$$ "
    r"the first term with a constant that is valid for every $p$ (see T4.4-opt).",
    scope=SCOPE,
    repair=REPAIR,
    control=CONTROL,
    defect=COVERAGE,
    errata=r"With $\kappa_t$ of (4.1) the theorem is false: two arms, one pair, one update and a "
    r"small $\beta$ break it far more often than $\delta = 0.01$ allows, with every assumption "
    r"met. With two separate maxima it stands.",
)
def gap_of_a_sampled_run(study: Study) -> Finding:
    r"""Judge Theorem 4.4 with explicit constants on the instance that refutes the printed kappa.

    Problem: two arms, reward gap 1/2, N = 1, T = 1, alpha = 0.3, beta = 0.015. If the pair
    compares the two arms and its label is wrong, which has probability sigma(-1/2)/2, the policy
    goes to the wrong arm, where the printed kappa nearly vanishes.

    Method: failure rate over seeds with a Clopper-Pearson interval, and the probability from all
    data sets; beside it, the repaired sum on random bandits against N.

    Guarantee: false as printed. Repaired, it is never exceeded here, and is above the largest
    possible gap on random bandits unless N is huge (T4.4-stat has the map).

    Reference: Theorem 4.4 of the paper; the counterexample is ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("T4.4").source
        'paper'
    """
    return judge_theorem(THEOREM, study)
