"""One Bregman proximal step: the reward it learns, from exact preferences or from win counts."""

from apo_sim.proximal.exact import EXACT_REWARD_BOUND, exact_rewards
from apo_sim.proximal.from_counts import SAMPLED_REWARD_BOUND, rewards_from_counts

__all__ = ["EXACT_REWARD_BOUND", "SAMPLED_REWARD_BOUND", "exact_rewards", "rewards_from_counts"]
