"""What a step notes: figures of pairs, the gradient's norm, updates that the dtype swallows."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import apo_sim as apo
from apo_sim.explain import Effect, explain
from apo_sim.llm.data.batches import batches
from apo_sim.llm.data.preference_pairs import Preference
from apo_sim.llm.models import stored_parameters, tiny
from apo_sim.llm.training.step import FineTuning, ProximalTrainer, StepsRounded
from apo_sim.llm.training.watching import pair_figures

pytestmark = pytest.mark.llm

PAIRS = [
    Preference((2, 3, 4), (5, 6, 7, 1), (8, 1)),
    Preference((9,), (5, 1), (8, 9, 10, 11, 1), weight=3.0),
    Preference((4, 4), (6, 1), (7, 7, 1)),
]


def test_figures_of_pairs_are_weighted_means():
    random = np.random.default_rng(0)
    log_probs, reference = -random.exponential(size=(2, 3, 2))
    (batch,) = batches(PAIRS, 4, beta=0.5, padding=0, reference=reference)
    filled = np.concatenate([log_probs, [[-7.0, -9.0]]])  # a row that fills up counts nowhere
    found = {name: float(value) for name, value in pair_figures(jnp.asarray(filled), batch).items()}
    weights = np.array([1.0, 3.0, 1.0]) / 5.0
    mass = [np.log(np.exp(part).sum(axis=1)) for part in (log_probs, reference)]
    expected = {
        "chosen_log_prob": weights @ log_probs[:, 0],
        "rejected_log_prob": weights @ log_probs[:, 1],
        "chosen_reward": 0.5 * weights @ (log_probs - reference)[:, 0],
        "rejected_reward": 0.5 * weights @ (log_probs - reference)[:, 1],
        "pair_mass": weights @ (mass[0] - mass[1]),
        "length": weights @ np.array([3.0, 3.5, 2.5]),
    }
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_says_which_of_its_updates_are_lost(dtype, tmp_path):
    model = tiny.model(num_layers=1)
    for _, leaf in stored_parameters.named(model.network):
        leaf.set_value(leaf.get_value().astype(dtype))
    tuning = FineTuning(1e-5, batch=3, epochs=10, warmup=0.0)
    with jax.enable_x64(False):
        if dtype == "bfloat16":
            with pytest.warns(StepsRounded):
                trainer = ProximalTrainer(model.network, apo.DPO(), tuning, padding=0)
        else:
            trainer = ProximalTrainer(model.network, apo.DPO(), tuning, padding=0)
        reference = trainer.log_probs(PAIRS)
        log = trainer.step(PAIRS, reference, beta=0.1, seed=0)
    shares = [entry["lost_updates"] for entry in log]
    assert log[0]["chosen_reward"] == pytest.approx(0.0, abs=1e-2) and log[0]["gradient"] > 0
    assert max(shares) < 0.1 if dtype == "float32" else min(shares) > 0.6
    (tmp_path / "results.json").write_text(json.dumps({"rows": [], "steps": log, "pairs": [3]}))
    seen = explain(tmp_path, beta=0.1).effects
    assert (Effect.LOST_UPDATES in seen) == (dtype == "bfloat16")
