"""Diagnose a training run from its log."""

from apo_sim.explain.diagnosis import Diagnosis, Effect, Explanation, Unjudged
from apo_sim.explain.explaining import explain, judge
from apo_sim.explain.log_picture import draw
from apo_sim.explain.reading import read

__all__ = ["Diagnosis", "Effect", "Explanation", "Unjudged", "draw", "explain", "judge", "read"]
