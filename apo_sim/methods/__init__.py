"""Methods, one per file. A `Method` is an init, a step, its policies and a request for data."""

from apo_sim.methods.accelerated import Accelerated
from apo_sim.methods.chipo import ChiPO
from apo_sim.methods.dno import DNO
from apo_sim.methods.egpo import EGPO
from apo_sim.methods.inpo import INPO
from apo_sim.methods.kto import KTO
from apo_sim.methods.magnetic_md import MagneticMD
from apo_sim.methods.mdvi import MDVI
from apo_sim.methods.method import Method, Report
from apo_sim.methods.nash_md import NashMD
from apo_sim.methods.npg import NPG
from apo_sim.methods.on_network import NetworkState, OnNetwork, TrainingDiverged
from apo_sim.methods.on_table import OnTable, TableState
from apo_sim.methods.optimistic_md import OptimisticMD
from apo_sim.methods.pessimistic import PessimisticMLE
from apo_sim.methods.policy_gradient import PolicyGradient
from apo_sim.methods.ppo import PPO
from apo_sim.methods.proximal import Fit, Proximal
from apo_sim.methods.rebel import REBEL
from apo_sim.methods.requests import CountedPairs, ListedPairs, Request, SingleLabels
from apo_sim.methods.requests_of_rewards import ScoredResponses
from apo_sim.methods.reward_sources import FittedReward, RewardSource, TrueReward
from apo_sim.methods.rlhf import RLHF
from apo_sim.methods.simpo import SimPO
from apo_sim.methods.xpo import XPO

__all__ = [
    "DNO",
    "EGPO",
    "INPO",
    "KTO",
    "MDVI",
    "NPG",
    "PPO",
    "REBEL",
    "RLHF",
    "XPO",
    "Accelerated",
    "ChiPO",
    "CountedPairs",
    "Fit",
    "FittedReward",
    "ListedPairs",
    "MagneticMD",
    "Method",
    "NashMD",
    "NetworkState",
    "OnNetwork",
    "OnTable",
    "OptimisticMD",
    "PessimisticMLE",
    "PolicyGradient",
    "Proximal",
    "Report",
    "Request",
    "RewardSource",
    "ScoredResponses",
    "SimPO",
    "SingleLabels",
    "TableState",
    "TrainingDiverged",
    "TrueReward",
]
