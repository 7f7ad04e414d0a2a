"""Advice for a planned run: which extrapolation to use, by a law, from stored runs or simulated."""

from apo_sim.advice.advise import Advice, advise

__all__ = ["Advice", "advise"]
