"""How good a policy is: held-out prompts, win rates, benchmarks, certificates."""

from apo_sim.llm.evaluation.held_out import Judged as Judged
from apo_sim.llm.evaluation.held_out import length_controlled as length_controlled
from apo_sim.llm.evaluation.held_out import mean as mean
from apo_sim.llm.evaluation.held_out import share as share
from apo_sim.llm.evaluation.held_out import summary as summary
