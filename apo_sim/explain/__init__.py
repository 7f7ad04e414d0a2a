"""Diagnose a training run from its log."""

from apo_sim.explain.diagnosis import Diagnosis, Effect, Explanation, Unjudged
from apo_sim.explain.explaining import diagnosed, explain
from apo_sim.explain.log_picture import draw
from apo_sim.explain.reading import read_log

__all__ = [
    "Diagnosis",
    "Effect",
    "Explanation",
    "Unjudged",
    "diagnosed",
    "draw",
    "explain",
    "read_log",
]
