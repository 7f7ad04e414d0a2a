"""What `apo_sim.llm.fine_tune` is given: unusable arguments are named before anything is written.

Most cases run in a process of their own, by this very file as a script: without the run-time check
of annotations, as a user's would.
"""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apo_sim as apo
from apo_sim import InvalidArgument
from apo_sim.llm import FineTuning, Length, Preference, Sampling, fine_tune
from apo_sim.llm.models import tiny
from apo_sim.llm.training.step import StepDiverged

pytestmark = pytest.mark.llm

SETTINGS: dict[str, Any] = {
    "prompts": ["w3 w4", "w5", "w6 w7", "w8"],
    "ranker": Length(unit=5.0),
    "beta": 1.0,
    "iterations": 1,
    "sampling": Sampling(3, 1.0, 1.0, max_tokens=6, max_prompt=4, batch=12),
    "tuning": FineTuning(learning_rate=1e-3, batch=2, optimizer=optax.sgd),
    "progress": False,
}


def started(**changes: Any) -> Any:
    return fine_tune(
        changes.pop("model", None) or tiny.model(num_layers=1), **{**SETTINGS, **changes}
    )


class NoScores:
    def score(self, prompt: Any, responses: Any) -> Any:
        return [0.0 for _ in responses]


class Broken:
    def pairs(self, *arguments: Any) -> Any:
        return self.found

    def __init__(self, found: Any):
        self.found = found


def from_source(found: Any, **changes: Any) -> Any:
    return started(source=Broken(found), prompts=None, ranker=None, **changes)


def rotten() -> Any:
    model = tiny.model(num_layers=1)
    model.network.lm_head.w.set_value(jnp.full_like(model.network.lm_head.w.get_value(), np.nan))
    return model


def kept() -> Any:
    """A ranker that holds something without content, in a run whose results are to be kept."""

    class Served:
        client = threading.Lock()

        def scores(self, prompt: Any, responses: Any) -> Any:
            return np.array([float(len(response)) for response in responses])

    with tempfile.TemporaryDirectory() as out:
        return started(ranker=Served(), out=out)


CASES: list[tuple[str, Callable[[], Any]]] = [
    ("model = 'smollm2' is not a model", lambda: started(model="smollm2")),
    ("has weights that are not finite", lambda: started(model=rotten())),
    ("prompts = None are not prompts", lambda: started(prompts=None)),
    ("prompts = 7 are not prompts", lambda: started(prompts=7)),
    ("ranker = None is missing", lambda: started(ranker=None)),
    ("ranker = <class", lambda: started(ranker=Length)),
    ("is not a ranker", lambda: started(ranker=NoScores())),
    ("ranker = 'length' is not a ranker", lambda: started(ranker="length")),
    ("loss = 'dpo' is not a loss", lambda: started(loss="dpo")),
    ("loss = <class", lambda: started(loss=apo.DPO)),
    ("has another signature", lambda: started(loss=lambda difference: difference)),
    ("is not a number for two scores", lambda: started(loss=lambda *scores: jnp.ones(2))),
    ("momentum = 0.3 is not a momentum rule", lambda: started(momentum=0.3)),
    ("momentum = <class", lambda: started(momentum=apo.NoMomentum)),
    (
        "is a schedule of the wrong length for iterations = 1",
        lambda: started(momentum=apo.Schedule(jnp.array([0.1, 0.2]))),
    ),
    ("beta = None", lambda: started(beta=None)),
    ("beta = '1.0'", lambda: started(beta="1.0")),
    ("beta = [[1.0], [1.0, 2.0]]", lambda: started(beta=[[1.0], [1.0, 2.0]])),
    ("beta = 0.0 must be", lambda: started(beta=0.0)),
    ("beta = nan", lambda: started(beta=float("nan"))),
    ("beta = 1e-60 must be", lambda: started(beta=1e-60)),
    ("beta = 1e+60", lambda: started(beta=1e60)),
    ("has shape (2,)", lambda: started(beta=(1.0, 2.0))),
    ("iterations = True", lambda: started(iterations=True)),
    ("iterations = 1.0 is not an integer", lambda: started(iterations=1.0)),
    ("iterations = 10000000000000000000", lambda: started(iterations=10**19)),
    ("cannot be divided among 5 iterations", lambda: started(iterations=5)),
    ("sampling = None is not a Sampling", lambda: started(sampling=None)),
    ("sampling = {'max_tokens': 6} is not a Sampling", lambda: started(sampling={"max_tokens": 6})),
    ("pairing = 'top' is not a pairing", lambda: started(pairing="top")),
    ("tuning = 0.001 is not a FineTuning", lambda: started(tuning=0.001)),
    ("optimizer = 'adam' is not callable", lambda: FineTuning(optimizer="adam")),  # type: ignore
    ("warmup = 'long' lies outside", lambda: FineTuning(warmup="long")),  # type: ignore
    ("lora = 8 is not a LoRA", lambda: started(lora=8)),
    ("held_out = 3 are not prompts", lambda: started(held_out=3)),
    ("source = 'file' is not a source", lambda: started(source="file")),
    ("prompts = ['w3 w4'", lambda: started(source=Broken([]), ranker=None)),
    ("held_out = ['w3'] would not be used", lambda: from_source([], held_out=["w3"])),
    ("gives no preference pairs", lambda: from_source([1, 2])),
    ("gives no preference pairs", lambda: from_source(None)),
    ("with tokens outside", lambda: from_source([Preference((3,), (4,), (99,))])),
    ("with tokens outside", lambda: from_source([Preference((3,), (4,), (-1,))])),
    ("with an empty text", lambda: from_source([Preference((3,), (), (4,))])),
    ("is no finite", lambda: from_source([Preference((3,), (4,), (5,), weight=float("nan"))])),
    ("weight is negative", lambda: from_source([Preference((3,), (4,), (5,), weight=-1.0)])),
    ("seed = -1 is not a valid seed", lambda: started(seed=-1)),
    ("seed = 1.5 is not a valid seed", lambda: started(seed=1.5)),
    ("seed = None is not a valid seed", lambda: started(seed=None)),
    ("out = 3 is not a path", lambda: started(out=3)),
    ("out = '' is not a path", lambda: started(out="")),
    ("out = 's3://bucket/run' is an address", lambda: started(out="s3://bucket/run")),
    ("cannot be written", lambda: started(out="/dev/null/run")),
    ("out = 'a\\x00b' is not a path", lambda: started(out="a\0b")),
    ("mesh = 'fsdp' is not a mesh", lambda: started(mesh="fsdp")),
    (
        "is not the one that the model was loaded on",
        lambda: started(mesh=jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))),
    ),
    ("judge_every = 'yes' is neither", lambda: started(judge_every="yes")),
    ("progress = 'yes' is neither", lambda: started(progress="yes")),
    ("watch_policy = 'log' is not callable", lambda: started(watch_policy="log")),
    (
        "cannot be distinguished from another object (because of <unlocked _thread.lock object>)",
        kept,
    ),
]


if __name__ == "__main__":
    heard = []
    for _, call in CASES:
        try:
            heard.append(f"nothing: {call()}")
        except Exception as error:
            heard.append(f"{type(error).__name__}: {error}")
    print(json.dumps(heard))


def test_every_message_names_the_argument():
    command = [sys.executable, "-W", "ignore", __file__]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    heard = json.loads(done.stdout.splitlines()[-1])
    for (expected, _), message in zip(CASES, heard, strict=True):
        kind, _, text = message.partition(": ")
        assert kind == "InvalidArgument" and expected in text, (expected, message)


def test_a_run_that_is_no_longer_finite_ends_as_diverged(tmp_path):
    tuning = FineTuning(learning_rate=1e20, batch=2, epochs=3)
    with pytest.raises(StepDiverged, match=r"1e\+20 diverges in iteration 1: .*; lower it") as one:
        started(tuning=tuning, out=tmp_path / "run", held_out=["w3"])
    assert one.value.iteration == 1 and isinstance(one.value, apo.TrainingDiverged)
    assert not (tmp_path / "run/iteration-1/hat").exists()


def test_one_step_too_far_is_seen_although_its_loss_was_finite():
    tuning = FineTuning(learning_rate=1e20, batch=16, optimizer=optax.sgd)
    with pytest.raises(StepDiverged, match="log-probabilities are not finite"):
        started(tuning=tuning)


def test_an_extrapolation_too_far_is_seen():
    tuning = FineTuning(learning_rate=2.0, batch=2, optimizer=optax.sign_sgd)
    rule = apo.Constant(3e38, unrestricted=True)
    with pytest.raises(StepDiverged, match="iteration 1: the extrapolated parameters are not"):
        started(momentum=rule, iterations=2, tuning=tuning)


def test_scores_that_are_no_numbers_are_named():
    class Unsure:
        def scores(self, prompt, responses):
            return np.full(len(responses), np.nan)

    with pytest.raises(InvalidArgument, match="scores"):
        started(ranker=Unsure())
