"""Policies, one kind per file: from parameters to the log-probabilities of all actions."""

from apo_sim.policies.attention import Attention
from apo_sim.policies.gaussian import Gaussian
from apo_sim.policies.log_linear import LogLinear
from apo_sim.policies.mlp import MLP
from apo_sim.policies.policy import Policy
from apo_sim.policies.recurrent import Recurrent
from apo_sim.policies.sequence import SequencePolicy
from apo_sim.policies.table import Table

__all__ = [
    "MLP",
    "Attention",
    "Gaussian",
    "LogLinear",
    "Policy",
    "Recurrent",
    "SequencePolicy",
    "Table",
]
