"""Theorem 4.8: the distance of a sampled run to the optimal policy."""

import numpy as np

from apo_sim import theory
from apo_sim.claims._theorem import CONTROL, REPAIR, SCOPE, Theorem, judge_theorem
from apo_sim.claims._two_arms import COVERAGE
from apo_sim.claims.registry import claim
from apo_sim.claims.verdict import Finding, Study

THEOREM = Theorem(
    measure="tv",
    unit="total variation to the optimum",
    factor=1.0,
    optimisation=lambda log_p, gap, gamma: np.asarray(
        theory.tv_printed(None, gap, gamma, log_p_star=log_p)
    ),
    trivial=1.0,
)


@claim(
    id="T4.8",
    title="Exponential convergence plus statistics",
    source="paper",
    statement=r"With reward gap $\Delta$, $\kappa_t$ as printed in (4.1) and probability at least "
    r"$1 - \delta$: $$D_{TV}(\hat\pi_T, \pi^*) \le \sqrt{\frac{e^{-\gamma_T \Delta}}{2p}} + "
    r"\frac{1}{\sigma'(1+R)} "
    r"\sqrt{\frac{T \sum_t \kappa_t \log(T|\Pi|/\delta)}{N \beta^2 (1-\alpha)^2}}.$$",
    scope=SCOPE,
    repair=REPAIR,
    control=CONTROL,
    defect=COVERAGE,
    errata=r"With $\kappa_t$ of (4.1) the theorem is false, by the instance that refutes Theorem "
    r"4.4: one wrong label puts the policy on the wrong of two arms, at distance 1 of the "
    r"optimum, far more often than $\delta = 0.01$ allows, while the printed sum is far below 1. "
    r"With two separate maxima it stands.",
)
def distance_of_a_sampled_run(study: Study) -> Finding:
    r"""Judge Theorem 4.8 with explicit constants on the instance that refutes the printed kappa.

    Problem: that of `T4.4`, with the distance to the optimal policy in place of the gap.

    Method: as there.

    Guarantee: false as printed; with the corrected kappa never exceeded here.

    Reference: Theorem 4.8 of the paper; the counterexample is ours.

    Example:
        >>> from apo_sim.claims import describe
        >>> describe("T4.8").source
        'paper'
    """
    return judge_theorem(THEOREM, study)
