"""Where momentum acts, one space a file: parameters, log-probabilities, tokens, a distilled copy.

The policy is softmax(network + offset). A space takes what was trained, lets a momentum rule of
`apo_sim.momentum` work on what it holds to be the policy, and says which network and offset the
next proximal centre is made of.
"""

from apo_sim.spaces.distilled import Distilled
from apo_sim.spaces.log_probabilities import InLogProbabilities
from apo_sim.spaces.parameters import InParameters
from apo_sim.spaces.space import Space
from apo_sim.spaces.tokens import InTokens

__all__ = ["Distilled", "InLogProbabilities", "InParameters", "InTokens", "Space"]
