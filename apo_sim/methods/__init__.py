"""Methods, one a file. A method is init, step, policies and the data it asks for: `Method`."""

from apo_sim.methods.base import Method, Report
from apo_sim.methods.on_network import NetworkState, OnNetwork, TrainingDiverged
from apo_sim.methods.on_table import OnTable, TableState
from apo_sim.methods.proximal import Fit, Proximal
from apo_sim.methods.requests import CountedPairs, ListedPairs, Request, SingleLabels

__all__ = [
    "CountedPairs",
    "Fit",
    "ListedPairs",
    "Method",
    "NetworkState",
    "OnNetwork",
    "OnTable",
    "Proximal",
    "Report",
    "Request",
    "SingleLabels",
    "TableState",
    "TrainingDiverged",
]
