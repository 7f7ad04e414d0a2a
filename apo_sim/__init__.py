"""A referee for preference-optimisation theory.

State a claim, and it says whether the claim holds, how tight it is and where it is empty. Its
first subject is Accelerated Preference Optimization (APO).
"""

from importlib import metadata

import apo_sim.start as _start  # noqa: F401  (first: the others take seconds)
from apo_sim import (
    claims,
    conformance,
    families,
    geometry,
    losses,
    methods,
    momentum,
    policies,
    preferences,
    spaces,
    theory,
)
from apo_sim.advice import Advice, advise
from apo_sim.claims import Verdict
from apo_sim.errors import Diverged, InvalidArgument, UnknownName
from apo_sim.geometry import (
    KL,
    AlphaDivergence,
    Burg,
    ChiSquareKL,
    Euclidean,
    ForwardKL,
    Geometry,
    JensenShannon,
    MixedChiSquare,
    Tsallis,
)
from apo_sim.loop import Solution, solve
from apo_sim.losses import DPO, IPO, KTO, SPPO, ConservativeDPO, Extra, Loss, RobustDPO, SLiC
from apo_sim.methods import Method, TrainingDiverged
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
from apo_sim.preferences import BestAgainstWorst, Flipped, Pairwise, Ranker, Ties
from apo_sim.problems import Bandit, Game, Problem
from apo_sim.proximal import ByGradient
from apo_sim.replay import replayed_counts
from apo_sim.running import run
from apo_sim.spaces import Distilled, InLogProbabilities, InParameters, InTokens
from apo_sim.sweep import sweep
from apo_sim.theory import Certificate, certify
from apo_sim.training import train

try:
    __version__ = metadata.version("apo-sim")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    __version__ = "unknown"

__all__ = [
    "DPO",
    "IPO",
    "KL",
    "KTO",
    "SGD",
    "SPPO",
    "AdamW",
    "Advice",
    "AlphaDivergence",
    "Averaging",
    "Bandit",
    "BestAgainstWorst",
    "Burg",
    "ByGradient",
    "Certificate",
    "ChiSquareKL",
    "ConservativeDPO",
    "Constant",
    "Distilled",
    "Diverged",
    "Euclidean",
    "Extra",
    "Flipped",
    "ForwardKL",
    "FromBehaviour",
    "FunctionSchedule",
    "Game",
    "Geometry",
    "InLogProbabilities",
    "InParameters",
    "InTokens",
    "InvalidArgument",
    "JensenShannon",
    "Loss",
    "Method",
    "MixedChiSquare",
    "Momentum",
    "Nesterov",
    "NoMomentum",
    "Pairwise",
    "Problem",
    "RMSProp",
    "Ranker",
    "RobustDPO",
    "SLiC",
    "Schedule",
    "Solution",
    "Ties",
    "TrainingDiverged",
    "Tsallis",
    "UnknownName",
    "Verdict",
    "advise",
    "certify",
    "claims",
    "conformance",
    "families",
    "geometry",
    "losses",
    "methods",
    "momentum",
    "policies",
    "preferences",
    "replayed_counts",
    "run",
    "solve",
    "spaces",
    "sweep",
    "theory",
    "train",
]
