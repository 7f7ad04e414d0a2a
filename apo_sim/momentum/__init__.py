"""Momentum rules, one per file, each a pure pair (init, extrapolate) on any pytree."""

from apo_sim.momentum.averaging import Averaging
from apo_sim.momentum.constant import Constant
from apo_sim.momentum.from_behaviour import FromBehaviour
from apo_sim.momentum.nesterov import Nesterov
from apo_sim.momentum.none import NoMomentum
from apo_sim.momentum.rule import Extrapolation, Momentum, step_beyond
from apo_sim.momentum.schedule import FunctionSchedule, Schedule

__all__ = [
    "Averaging",
    "Constant",
    "Extrapolation",
    "FromBehaviour",
    "FunctionSchedule",
    "Momentum",
    "Nesterov",
    "NoMomentum",
    "Schedule",
    "step_beyond",
]
