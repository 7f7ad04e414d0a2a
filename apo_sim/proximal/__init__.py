"""One Bregman proximal step: from exact preferences, from win counts, or by gradient."""

from apo_sim.proximal.by_gradient import ByGradient
from apo_sim.proximal.exact import EXACT_REWARD_BOUND, exact_rewards
from apo_sim.proximal.from_counts import SAMPLED_REWARD_BOUND, rewards_from_counts

__all__ = [
    "EXACT_REWARD_BOUND",
    "SAMPLED_REWARD_BOUND",
    "ByGradient",
    "exact_rewards",
    "rewards_from_counts",
]
