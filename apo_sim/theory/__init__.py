"""Closed forms and bounds: the independent side of every comparison.

Nothing here runs the method. Imports problems, never the loop, the losses or the momentum rules.
"""

from apo_sim.theory.assumptions_met import (
    Assumptions,
    VisitedBounds,
    assumptions,
    visited_bounds,
)
from apo_sim.theory.certificate import Certificate, certify
from apo_sim.theory.closed_forms import closed_form, exact_policy
from apo_sim.theory.data_coverage import Coverage, coverage
from apo_sim.theory.extrapolation import (
    effective_updates,
    gamma,
    gamma_printed,
    matched_beta,
    nesterov_schedule,
    reward_weights,
    weights,
)
from apo_sim.theory.games import average_exploitability, ipo_beta, ipo_reward_scale
from apo_sim.theory.gap_split import Split, split
from apo_sim.theory.geometries import (
    exact_from,
    gap_bregman,
    log_tail,
    sharp_gap_of,
    worst_policy,
)
from apo_sim.theory.leading_order import LeadingOrder, leading_order
from apo_sim.theory.optimisation import (
    asymptotic_slope,
    gap_gibbs,
    gap_printed,
    log_odds_against,
    log_sharp_tv,
    log_tv_printed,
    sharp_gap,
    sharp_tv,
    tv_printed,
    two_level,
    worst_case_gap,
    wright_omega,
)
from apo_sim.theory.paths import PolicyPath
from apo_sim.theory.statistical_error import (
    Flavour,
    log_reward_error_bound,
    log_samples_needed,
    log_samples_needed_tabular,
    log_slope,
    log_tv_statistical,
    reward_error_bound,
    tabular_entropy,
    tv_statistical,
)

__all__ = [
    "Assumptions",
    "Certificate",
    "Coverage",
    "Flavour",
    "LeadingOrder",
    "PolicyPath",
    "Split",
    "VisitedBounds",
    "assumptions",
    "asymptotic_slope",
    "average_exploitability",
    "certify",
    "closed_form",
    "coverage",
    "effective_updates",
    "exact_from",
    "exact_policy",
    "gamma",
    "gamma_printed",
    "gap_bregman",
    "gap_gibbs",
    "gap_printed",
    "ipo_beta",
    "ipo_reward_scale",
    "leading_order",
    "log_odds_against",
    "log_reward_error_bound",
    "log_samples_needed",
    "log_samples_needed_tabular",
    "log_sharp_tv",
    "log_slope",
    "log_tail",
    "log_tv_printed",
    "log_tv_statistical",
    "matched_beta",
    "nesterov_schedule",
    "reward_error_bound",
    "reward_weights",
    "sharp_gap",
    "sharp_gap_of",
    "sharp_tv",
    "split",
    "tabular_entropy",
    "tv_printed",
    "tv_statistical",
    "two_level",
    "visited_bounds",
    "weights",
    "worst_case_gap",
    "worst_policy",
    "wright_omega",
]
