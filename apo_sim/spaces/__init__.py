"""What momentum extrapolates, one space per file: parameters, log-probabilities, tokens, a copy.

The policy is softmax(network + offset). A space takes the trained network, applies a momentum rule
of `apo_sim.momentum` to its own representation of the policy, and returns the network and offset
of the next proximal centre.
"""

from apo_sim.spaces.distilled import Distilled
from apo_sim.spaces.log_probabilities import InLogProbabilities
from apo_sim.spaces.parameters import InParameters
from apo_sim.spaces.space import Space
from apo_sim.spaces.tokens import InTokens

__all__ = ["Distilled", "InLogProbabilities", "InParameters", "InTokens", "Space"]
