"""Preference data: which pairs are drawn, which response wins, their counts, and mean losses.

Every tabular loss sees its data only through counts, so the counts are drawn directly from their
multinomial law, and an iteration costs the same for any number of preference pairs. Networks over
many actions see fewer pairs than there are pairs of actions, and draw them one by one.
"""

from apo_sim.preferences.best_against_worst import BestAgainstWorst
from apo_sim.preferences.counts import Counts
from apo_sim.preferences.labels import Labels
from apo_sim.preferences.mixed_pairs import DPOMixP, DPOMixR
from apo_sim.preferences.noise import Flipped
from apo_sim.preferences.pairs import Pairs
from apo_sim.preferences.pairwise import Pairwise
from apo_sim.preferences.population import Population
from apo_sim.preferences.ranked_pairs import (
    Cells,
    DrawsPairs,
    Listed,
    Outcomes,
    Ranker,
    SplitsTies,
    draw_counts,
    draw_pairs,
    win_counts,
)
from apo_sim.preferences.samplers import (
    FixedPolicy,
    FromPolicy,
    FromReference,
    LogitMixture,
    Mixture,
    Sampler,
    Uniform,
)
from apo_sim.preferences.scored import Scored
from apo_sim.preferences.ties import Ties
from apo_sim.preferences.win_rates import win_rates

__all__ = [
    "BestAgainstWorst",
    "Cells",
    "Counts",
    "DPOMixP",
    "DPOMixR",
    "DrawsPairs",
    "FixedPolicy",
    "Flipped",
    "FromPolicy",
    "FromReference",
    "Labels",
    "Listed",
    "LogitMixture",
    "Mixture",
    "Outcomes",
    "Pairs",
    "Pairwise",
    "Population",
    "Ranker",
    "Sampler",
    "Scored",
    "SplitsTies",
    "Ties",
    "Uniform",
    "draw_counts",
    "draw_pairs",
    "win_counts",
    "win_rates",
]
