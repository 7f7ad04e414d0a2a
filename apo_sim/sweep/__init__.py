"""Sweeps: grids of settings times many seeds, on one machine or a cluster, stored and resumed."""

from apo_sim.sweep.cluster import ClusterLost
from apo_sim.sweep.named import NAMED, Family
from apo_sim.sweep.sweep import sweep

__all__ = ["NAMED", "ClusterLost", "Family", "sweep"]
