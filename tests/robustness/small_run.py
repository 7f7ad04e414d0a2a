"""A small run of the language model, from a test or in a process of its own: small_run.py OUT."""

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import optax

import apo_sim as apo
from apo_sim.llm import BradleyTerry, FineTuning, Length, Model, Sampling, fine_tune
from apo_sim.llm.models import stored_parameters, tiny
from apo_sim.llm.training.step import ProximalTrainer
from apo_sim.records import as_plain

# One checkpoint within each proximal step.
STEPS, SAVE_EVERY = 12, 8
# A step after it, with others between them whose records a kill loses.
LAST = 11
SETTINGS: dict[str, Any] = {
    "prompts": [f"w{number} w{number + 1}" for number in range(8)],
    "held_out": ["w3", "w9 w8"],
    "ranker": Length(unit=5.0),
    "pairing": BradleyTerry(2),
    "momentum": apo.Constant(0.5),
    "beta": (0.1, 1.0),
    "iterations": 2,
    "sampling": Sampling(3, 1.0, 1.0, max_tokens=6, max_prompt=4, batch=12),
    "tuning": FineTuning(learning_rate=1e-3, batch=2, epochs=STEPS // 4, optimizer=optax.sgd),
    "progress": False,
}


def model(seed: int = 0) -> Model:
    return tiny.model(seed, num_layers=1)


def run(out: Path | None, **changes: Any) -> dict[str, Any]:
    """Everything that a run says, its policies by a hash of all their bits."""
    policies: dict[int, str] = {}
    with mock.patch.object(ProximalTrainer, "save_every", SAVE_EVERY):
        outcome = fine_tune(
            changes.pop("model", None) or model(),
            **{**SETTINGS, **changes},
            out=out,
            watch_policy=lambda t, network: policies.update({t: stored_parameters.digest(network)}),
        )
    logs = as_plain({"rows": outcome.rows, "steps": outcome.steps, "pairs": outcome.pairs})
    if out is not None:
        assert json.loads((out / "results.json").read_text()) == logs
    return {"policies": policies, **logs}


if __name__ == "__main__":
    run(Path(sys.argv[1]))
