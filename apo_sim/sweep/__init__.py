"""Sweeps: grids of settings times many seeds, on one machine or a cluster, stored and resumed."""

from apo_sim.registry import Family
from apo_sim.sweep.cluster import ClusterLost
from apo_sim.sweep.devices import use_cores
from apo_sim.sweep.lanes import replicate_problem
from apo_sim.sweep.series import SERIES
from apo_sim.sweep.sweep import sweep
from apo_sim.sweep.trainings import trainings

__all__ = [
    "SERIES",
    "ClusterLost",
    "Family",
    "replicate_problem",
    "sweep",
    "trainings",
    "use_cores",
]
