"""What happened to my run: a training log, and what it shows."""

from apo_sim.explain.diagnosis import Diagnosis, Effect, Explanation, Unjudged
from apo_sim.explain.explaining import explain

__all__ = ["Diagnosis", "Effect", "Explanation", "Unjudged", "explain"]
