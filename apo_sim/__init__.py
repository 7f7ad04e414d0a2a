"""A referee for preference-optimisation theory.

State a claim, and it says whether the claim holds, how tight it is and where it is empty. Its
first subject is Accelerated Preference Optimization (APO).
"""

from importlib import metadata

import apo_sim.start as _start  # noqa: F401  (first: the others take seconds)
from apo_sim import claims, families, losses, momentum, policies, spaces, theory
from apo_sim.advice import Advice, advise
from apo_sim.claims import Verdict
from apo_sim.errors import Diverged, InvalidArgument, UnknownName
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
from apo_sim.optimizers import SGD, AdamW, RMSProp
from apo_sim.preferences import BestAgainstWorst, Pairwise, Ranker
from apo_sim.problems import Bandit, Game, Problem
from apo_sim.proximal import ByGradient
from apo_sim.spaces import Distilled, InLogProbabilities, InParameters, InTokens
from apo_sim.sweep import sweep
from apo_sim.training import Training, TrainingDiverged, train

try:
    __version__ = metadata.version("apo-sim")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    __version__ = "unknown"

__all__ = [
    "DPO",
    "IPO",
    "SGD",
    "SPPO",
    "AdamW",
    "Advice",
    "Averaging",
    "Bandit",
    "BestAgainstWorst",
    "ByGradient",
    "Constant",
    "Distilled",
    "Diverged",
    "Extra",
    "FromBehaviour",
    "FunctionSchedule",
    "Game",
    "InLogProbabilities",
    "InParameters",
    "InTokens",
    "InvalidArgument",
    "Loss",
    "Momentum",
    "Nesterov",
    "NoMomentum",
    "Pairwise",
    "Problem",
    "RMSProp",
    "Ranker",
    "Schedule",
    "Solution",
    "Training",
    "TrainingDiverged",
    "UnknownName",
    "Verdict",
    "advise",
    "claims",
    "families",
    "losses",
    "momentum",
    "policies",
    "run",
    "spaces",
    "sweep",
    "theory",
    "train",
]
