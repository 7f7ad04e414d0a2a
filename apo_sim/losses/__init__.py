"""Losses, one a file. A loss is any callable `loss(h_winner, h_loser, extra)`, see `Loss`."""

from apo_sim.losses.base import Extra, Loss, derivatives, population_rewards
from apo_sim.losses.dpo import DPO
from apo_sim.losses.ipo import IPO
from apo_sim.losses.sppo import SPPO

__all__ = ["DPO", "IPO", "SPPO", "Extra", "Loss", "derivatives", "population_rewards"]
