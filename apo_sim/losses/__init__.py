"""Losses, one per file: on pairs of responses (`Loss`) or labelled responses (`PointwiseLoss`)."""

from apo_sim.losses.conservative import ConservativeDPO, RobustDPO
from apo_sim.losses.dpo import DPO
from apo_sim.losses.ipo import IPO
from apo_sim.losses.kahneman_tversky import KTO
from apo_sim.losses.loss import (
    BringsDerivatives,
    BringsEmpiricalMinimiser,
    BringsMean,
    BringsMinimiser,
    Extra,
    Loss,
    PointwiseLoss,
    brings_own_minimiser,
    derivatives,
    is_pointwise,
    population_rewards,
)
from apo_sim.losses.slic import SLiC
from apo_sim.losses.sppo import SPPO

__all__ = [
    "DPO",
    "IPO",
    "KTO",
    "SPPO",
    "BringsDerivatives",
    "BringsEmpiricalMinimiser",
    "BringsMean",
    "BringsMinimiser",
    "ConservativeDPO",
    "Extra",
    "Loss",
    "PointwiseLoss",
    "RobustDPO",
    "SLiC",
    "brings_own_minimiser",
    "derivatives",
    "is_pointwise",
    "population_rewards",
]
