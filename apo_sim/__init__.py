"""A referee for preference-optimisation theory.

State a claim, and it says whether the claim holds, how tight it is and where it is empty. Its
first subject is Accelerated Preference Optimization (APO).
"""

from importlib import metadata

from apo_sim import claims, families, losses, momentum, theory
from apo_sim.advice import Advice, advise
from apo_sim.claims import Verdict
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.loop import Solution, run
from apo_sim.losses import DPO, IPO, SPPO, Extra, Loss
from apo_sim.momentum import (
    Averaging,
    Constant,
    FromBehaviour,
    FunctionSchedule,
    Momentum,
    Nesterov,
    NoMomentum,
    Schedule,
)
from apo_sim.preferences import BestAgainstWorst, Pairwise, Ranker
from apo_sim.problems import Bandit, Game, Problem
from apo_sim.sweep import sweep

try:
    __version__ = metadata.version("apo-sim")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    __version__ = "unknown"

__all__ = [
    "DPO",
    "IPO",
    "SPPO",
    "Advice",
    "Averaging",
    "Bandit",
    "BestAgainstWorst",
    "Constant",
    "Extra",
    "FromBehaviour",
    "FunctionSchedule",
    "Game",
    "InvalidArgument",
    "Loss",
    "Momentum",
    "Nesterov",
    "NoMomentum",
    "Pairwise",
    "Problem",
    "Ranker",
    "Schedule",
    "Solution",
    "UnknownName",
    "Verdict",
    "advise",
    "claims",
    "families",
    "losses",
    "momentum",
    "run",
    "sweep",
    "theory",
]
