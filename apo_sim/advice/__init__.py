"""Advice for a run about to start: which extrapolation, read from a stored sweep or simulated."""

from apo_sim.advice.advise import Advice, advise

__all__ = ["Advice", "advise"]
