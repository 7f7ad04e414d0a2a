"""Networks and their texts: where weights and tokenizers are read from, and how they are kept."""

from apo_sim.llm.models.loading import SMOLLM2 as SMOLLM2
from apo_sim.llm.models.loading import Model as Model
from apo_sim.llm.models.loading import load as load
from apo_sim.llm.models.loading import save as save
