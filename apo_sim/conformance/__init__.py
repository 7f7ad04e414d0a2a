"""What loss is this? Compare other tools' losses and parameters with those of the library."""

from apo_sim.conformance._sequence_draws import mixture
from apo_sim.conformance.conversion import Converted, convert
from apo_sim.conformance.identify import Identification, identify
from apo_sim.conformance.loss_loading import load_loss
from apo_sim.conformance.naming import Difference
from apo_sim.conformance.policy_updates import Update, identify_update
from apo_sim.conformance.recipe import on_log_probabilities
from apo_sim.conformance.target import Target

__all__ = [
    "Converted",
    "Difference",
    "Identification",
    "Target",
    "Update",
    "convert",
    "identify",
    "identify_update",
    "load_loss",
    "mixture",
    "on_log_probabilities",
]
