"""The outer loop: extrapolation leaf by leaf, LoRA, resumption, damage, meshes and processes."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import apo_sim as apo
from apo_sim import InvalidArgument
from apo_sim.llm import fine_tune, stages
from apo_sim.llm.data.preference_pairs import BradleyTerry, Preference
from apo_sim.llm.data.rankers import Length
from apo_sim.llm.data.responses import Sampling
from apo_sim.llm.models import loading, stored_parameters, tiny
from apo_sim.llm.models.adapters import adapted, effective, trained
from apo_sim.llm.models.lora import LoRA
from apo_sim.llm.training.parameter_momentum import Extrapolator
from apo_sim.llm.training.step import FineTuning, ProximalTrainer
from apo_sim.records import as_plain

pytestmark = pytest.mark.llm

PROMPTS = [f"w{number} w{number + 1}" for number in range(8)]
SAMPLING = Sampling(responses=3, max_tokens=6, max_prompt=4, batch=12, temperature=1.0, top_p=1.0)
SETTINGS = {
    "prompts": PROMPTS,
    "held_out": ["w3", "w9 w8", "w20"],
    "ranker": Length(unit=5.0),
    "pairing": BradleyTerry(2),
    "beta": (0.1, 1.0),
    "iterations": 2,
    "sampling": SAMPLING,
    "tuning": FineTuning(learning_rate=1e-2, batch=4, optimizer=optax.sgd),
    "progress": False,
}


def some_pairs(number):
    random = np.random.default_rng(0)

    def some(length):
        return tuple(map(int, random.integers(2, 30, length)))

    return [Preference(some(3), some(5), some(4)) for _ in range(number)]


def policies(layers=2, **changes):
    """What the weights amount to at pi_0, at every pi_hat_t and every pi_t, and the outcome."""
    model, hats, centres = tiny.model(num_layers=layers), {}, {}
    start, extrapolate = amounts(model.network), Extrapolator.extrapolate

    def watched(self, network, t):
        extrapolate(self, network, t)
        centres[t] = amounts(network)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Extrapolator, "extrapolate", watched)
        outcome = fine_tune(
            model,
            **{**SETTINGS, **changes},
            watch_policy=lambda t, network: hats.update({t: amounts(network)}),
        )
    return start, hats, centres, outcome


def amounts(network):
    """The effective weights: with LoRA's product where a weight has one."""
    weights = dict(stored_parameters.named(network))
    return {name: np.asarray(effective(weights, name)) for name in weights if "lora" not in name}


def numbers(network):
    found = {name: np.asarray(value) for name, value in stored_parameters.of(network).items()}
    return {name: value for name, value in found.items() if "lora" not in name}


ALPHA = 0.5


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed: where it began, every pi_hat_t, the outcome, its folder."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return (*policies(momentum=apo.Constant(ALPHA), out=folder), folder)


def extrapolated(start, hats, centres, name):
    expected = hats[1][name] + ALPHA * (hats[1][name] - start[name])
    return np.allclose(centres[1][name], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.xdist_group("train")
def test_every_parameter_is_extrapolated(whole):
    start, hats, centres, _, _ = whole
    assert all(extrapolated(start, hats, centres, name) for name in start)
    moved = max(np.abs(hat - start[name]).max() for name, hat in hats[1].items())
    assert moved > 1e-4  # or there would be nothing to extrapolate


def test_lora_extrapolates_effective_weights(tmp_path):
    lora, rate = LoRA(rank=2, scale=4.0), FineTuning(1.0, batch=4, optimizer=optax.sgd)
    start, hats, centres, outcome = policies(
        layers=1, momentum=apo.Constant(ALPHA), lora=lora, tuning=rate, out=tmp_path / "run"
    )
    network = outcome.model.network
    assert len(adapted(network)) == 7
    assert all(extrapolated(start, hats, centres, name) for name in start)
    still = set(start) - set(adapted(network))
    assert all(np.array_equal(hats[1][name], start[name]) for name in still)
    assert max(np.abs(hats[1][n] - start[n]).max() for n in adapted(network)) > 1e-4
    # What does not change is not written with every policy.
    like = stored_parameters.of(network, trained(network))
    kept = stored_parameters.read(tmp_path / "run/iteration-2/hat", like)
    assert all(np.array_equal(kept[name], value) for name, value in like.items())


def test_merging_keeps_the_policy_and_extrapolated_factors_are_another():
    lora = LoRA(rank=2, scale=4.0)
    model = lora.into(tiny.model(num_layers=1))
    random = np.random.default_rng(0)
    factors = stored_parameters.of(model.network)
    for name, value in factors.items():
        if "lora" in name:
            factors[name] = jnp.asarray(random.normal(size=value.shape), jnp.float32)
    stored_parameters.put(model.network, factors)
    tokens, mask = jnp.arange(2, 8)[None], jnp.tril(jnp.ones((1, 6, 6), bool))

    @nnx.jit
    def forward(network):
        return network(tokens, jnp.arange(6)[None], None, mask)[0]

    def logits():
        return np.asarray(forward(model.network))

    before, base = logits(), numbers(model.network)
    lora.merge(model.network)
    assert np.allclose(logits(), before, rtol=1e-4, atol=1e-4)
    # Control: (1 + a) A (1 + a) B is not what (1 + a) A B adds.
    name = "layers.0.attn.q_proj.w"
    change = numbers(model.network)[name] - base[name]
    a, b = (np.asarray(factors[f"{name}_lora_{part}"]) for part in "ab")
    wrong = 2.0 * np.tensordot(1.5 * a, 1.5 * b, 1).reshape(change.shape)
    assert not np.allclose(1.5 * change, wrong, rtol=0.1)


SCRIPT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import test_train
import apo_sim as apo
from apo_sim.llm import stages
from apo_sim.llm.models import tiny
from apo_sim.llm import fine_tune

left = [int(sys.argv[2])]
complete = stages.complete

def counted(folder, *arguments, **named):
    if left[0] == 0:  # in the middle of writing a stage
        draft = folder.with_name("." + folder.name)
        draft.mkdir(parents=True, exist_ok=True)
        (draft / "half").write_text("written")
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    complete(folder, *arguments, **named)

stages.complete = counted
rule = apo.Constant(test_train.ALPHA)
fine_tune(tiny.model(), **test_train.SETTINGS, momentum=rule, out=sys.argv[1])
"""


@pytest.mark.xdist_group("train")
def test_a_run_killed_anywhere_ends_the_same(whole, tmp_path):
    _, hats, _, outcome, _ = whole
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    again = [sys.executable, "-W", "ignore", "-c", script, tmp_path / "killed"]
    for stages_before in (3, 5):
        assert subprocess.run([*again, str(stages_before)]).returncode == -9
    subprocess.run([*again, "1000"], check=True)
    content = json.loads((tmp_path / "killed/results.json").read_text())
    assert content["rows"] == as_plain(outcome.rows) and content["pairs"] == outcome.pairs
    found = stored_parameters.read(
        tmp_path / "killed/iteration-2/hat", stored_parameters.of(tiny.model().network)
    )
    for name, value in hats[2].items():
        assert np.array_equal(value, found[name]), name


def test_a_step_goes_on_from_its_own_checkpoint(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    pairs = some_pairs(24)
    tuning = FineTuning(learning_rate=1e-2, batch=4)
    reference = random.normal(size=(24, 2)) - 10.0
    monkeypatch.setattr(ProximalTrainer, "save_every", 2)

    def trainer():
        return ProximalTrainer(tiny.model(num_layers=1).network, apo.DPO(), tuning, padding=0)

    whole = trainer()
    expected = whole.step(pairs, reference, beta=1.0, seed=1)

    class Stop(Exception):
        pass

    def tick(_):
        seen.append(1)
        if len(seen) == 4:
            raise Stop

    seen, first = [], trainer()
    with pytest.raises(Stop):
        first.step(pairs, reference, beta=1.0, seed=1, folder=tmp_path / "step", tick=tick)
    second = trainer()
    kept = json.loads((tmp_path / "step/log.json").read_text())
    advance, rates = ProximalTrainer._advance, []

    def counted(self, *arguments):
        rates.append(arguments[-1])
        return advance(self, *arguments)

    monkeypatch.setattr(ProximalTrainer, "_advance", counted)
    log = second.step(pairs, reference, beta=1.0, seed=1, folder=tmp_path / "step")
    assert log == expected and as_plain(log[:2]) == kept
    assert len(rates) == 4  # it did not begin again
    for name, value in numbers(whole.model).items():
        assert np.array_equal(value, numbers(second.model)[name]), name


def test_a_step_takes_no_memory_beside_policy_and_optimiser_for_its_results():
    network = tiny.model(num_layers=1).network
    trainer = ProximalTrainer(network, apo.DPO(), FineTuning(batch=4), padding=0)
    needs = trainer.program(some_pairs(4)).memory_analysis()
    policy = sum(value.nbytes for value in stored_parameters.of(network).values())
    assert needs is not None and needs.alias_size_in_bytes >= 2 * policy
    assert needs.output_size_in_bytes - needs.alias_size_in_bytes < 0.1 * policy


def test_accumulated_parts_are_one_batch():
    pairs = some_pairs(7)
    found = []
    for parts in (1, 2):
        tuning = FineTuning(learning_rate=1e-2, batch=4, accumulate=parts, optimizer=optax.sgd)
        trainer = ProximalTrainer(tiny.model(num_layers=1).network, apo.DPO(), tuning, padding=0)
        held = stored_parameters.of(trainer.model)
        trainer.step(pairs, np.zeros((7, 2)), beta=1.0, seed=1)
        found.append(numbers(trainer.model))
        # What others hold is not given away, though the step works in place.
        assert not any(value.is_deleted() for value in held.values())
    for name, value in found[0].items():
        assert np.allclose(value, found[1][name], atol=1e-6), name


@pytest.mark.xdist_group("train")
def test_damage_is_computed_again_and_another_run_is_refused(whole, tmp_path):
    folder, rule = tmp_path / "run", apo.Constant(ALPHA)
    shutil.copytree(whole[-1], folder)
    file = next(p for p in (folder / "iteration-1/hat").rglob("*") if p.stat().st_size > 5_000)
    sound = file.read_bytes()
    file.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # which flax is excused for
        with pytest.warns(stages.StageLost, match=r"iteration-1/hat: .* it is computed again"):
            _, hats, _, outcome = policies(momentum=rule, out=folder)
    assert outcome.rows == whole[-2].rows and outcome.steps == whole[-2].steps
    for t in (1, 2):
        assert all(np.array_equal(value, whole[1][t][name]) for name, value in hats[t].items())
    for changes, said in (
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"beta": 1.0}, r"beta is \[0.1, 1.0\] there"),
        ({"prompts": PROMPTS[:-1]}, "prompts is '8 prompts, .*' there and '7 prompts, .*' here"),
        ({"prompts": PROMPTS[::-1]}, "prompts is '8 prompts, .*' there and '8 prompts, .*' here"),
        ({"held_out": ["w4"]}, "held_out is"),
        ({"ranker": Length(unit=6.0)}, "ranker is"),
        ({"pairing": BradleyTerry(3)}, "pairing is"),
        ({"sampling": dataclasses.replace(SAMPLING, top_p=0.9)}, "sampling is"),
        ({"tuning": FineTuning(batch=4)}, "tuning is"),
        ({"lora": LoRA(2)}, "model is"),
        ({"layers": 1}, "model is"),
    ):
        with pytest.raises(InvalidArgument, match=f"holds another run: {said}"):
            policies(**{"momentum": rule, "out": folder, **changes})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.tex").write_text("mine")
    with pytest.raises(InvalidArgument, match="holds something else"):
        policies(out=tmp_path / "other")


@pytest.mark.xdist_group("train")
def test_a_full_disk_is_named_and_the_run_goes_on_later(tmp_path, monkeypatch):
    written = stages.complete

    def full(folder, write, *arguments, **named):
        def fail(draft):
            raise OSError(28, "No space left on device")

        return written(folder, fail if folder.name == "hat" else write, *arguments, **named)

    monkeypatch.setattr(stages, "complete", full)
    with pytest.raises(InvalidArgument, match=r"No space left.*free some space"):
        policies(out=tmp_path / "run", iterations=1, beta=1.0)
    monkeypatch.undo()
    assert (tmp_path / "run/iteration-1/pairs").is_dir()
    outcome = policies(out=tmp_path / "run", iterations=1, beta=1.0)[-1]
    assert len(outcome.pairs) == 1


def test_bad_input_is_named_before_anything_runs(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "w3"}\nnot json\n')
    for changes, said in (
        ({"beta": -1.0}, "beta = -1.0 must be positive"),
        ({"beta": (1.0, 2.0, 3.0)}, "has shape"),
        ({"iterations": 0}, "iterations = 0"),
        ({"prompts": str(file)}, "prompts = 'line 2 of"),
        ({"prompts": str(tmp_path / "none.jsonl")}, "does not exist"),
        ({"prompts": []}, "are empty"),
        ({"prompts": ["w1 " * 9]}, "are all too long"),
        ({"prompts": ["w1"]}, "cannot be divided among 2 iterations"),
        ({"ranker": None}, "ranker = None is missing"),
        ({"sampling": dataclasses.replace(SAMPLING, responses=1)}, "responses = 1 makes no pairs"),
        ({"sampling": dataclasses.replace(SAMPLING, max_tokens=300)}, "exceed the context of 256"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            fine_tune(tiny.model(num_layers=1), **{**SETTINGS, **changes})
        assert said in str(caught.value), str(caught.value)


@pytest.mark.xdist_group("train")
def test_every_policy_is_judged(whole):
    outcome = whole[-2]
    assert [row.policy for row in outcome.rows] == ["reference", "pi_hat_1", "pi_1", "pi_hat_2"]
    reference, *others = outcome.rows
    assert reference.figures.win_rate.figures == (0.5, 0.5, 0.5)
    assert reference.figures.kl.figures == (0.0, 0.0, 0.0)
    assert any(row.figures.reverse_kl.value != 0.0 for row in others)
    assert all(row.figures.strict is None for row in outcome.rows)  # these prompts ask for nothing


EIGHT = """
import os, sys
flags = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = flags + " --xla_force_host_platform_device_count=8"
sys.path.insert(0, {tests!r})
import json, tracemalloc, test_train
import apo_sim as apo
from apo_sim.llm import mesh
from apo_sim.llm.models import _huggingface, loading, stored_parameters, tiny
from apo_sim.llm.training.step import FineTuning, ProximalTrainer
from apo_sim.llm.training.parameter_momentum import Extrapolator
from contextlib import nullcontext

found = {{}}
for name, place in (("1", None), ("4x2", mesh(4, 2))):
    model = loading.load(sys.argv[1], mesh=place)
    digest = stored_parameters.digest(model.network)
    pairs = test_train.some_pairs(24)
    tuning = FineTuning(learning_rate=1e-3, batch=8)
    with place or nullcontext():
        trainer = ProximalTrainer(model.network, apo.DPO(), tuning, padding=0)
        extrapolator = Extrapolator(model.network, apo.Constant(0.5))
        reference = trainer.log_probs(pairs)
        log = trainer.step(pairs, reference, beta=1.0, seed=0)
        extrapolator.extrapolate(model.network, 1)
        after = trainer.log_probs(pairs)
    on = len(model.network.layers[0].attn.q_proj.w.get_value().sharding.device_set)
    losses = [step.loss for step in log]
    found[name] = {{"loss": losses, "after": after.tolist(), "devices": on, "digest": digest}}

_huggingface.MOST_BYTES, larger = 300_000, {{"embed_dim": 128, "hidden_dim": 512}}
one = loading.save(tiny.model(**larger), sys.argv[1] + "-larger")
model = loading.load(one, mesh=mesh(4, 2))
tracemalloc.start()
saved = loading.save(model, sys.argv[1] + "-again")
found["peak"] = tracemalloc.get_traced_memory()[1]
found["whole"] = 4 * model.parameters
found["largest"] = max(path.stat().st_size for path in saved.glob("*.safetensors"))
weights = [path.name for path in saved.glob("model*")]
found["same"] = [(saved / n).read_bytes() == (one / n).read_bytes() for n in weights]
print(json.dumps(found))
"""


def test_a_mesh_of_eight_devices_gives_the_losses_of_one(tmp_path):
    loading.save(tiny.model(num_layers=1), tmp_path / "model")
    script = EIGHT.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-W", "ignore", "-c", script, tmp_path / "model"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(printed.splitlines()[-1])
    assert found["4x2"]["devices"] == 8 and found["1"]["devices"] == 1
    assert found["4x2"]["digest"] == found["1"]["digest"]
    assert np.allclose(found["1"]["loss"], found["4x2"]["loss"], atol=1e-4)
    assert np.allclose(found["1"]["after"], found["4x2"]["after"], atol=1e-4)
    assert np.ptp(found["1"]["loss"]) > 1e-3
    # Saved file by file: on the host are one file's tensors and the bytes that safetensors writes,
    # twice a file; the third is for what Python holds beside them as it compiles.
    assert len(found["same"]) > 6 and all(found["same"])
    assert found["peak"] < 3 * found["largest"] < 0.6 * found["whole"]


TWO = """
import os, sys
sys.path.insert(0, {tests!r})
import jax
from apo_sim.llm import join, mesh
from apo_sim.llm.models import loading
join()
import test_train
from apo_sim.llm import Length, fine_tune
place = mesh(2, 1)
model = loading.load(sys.argv[1], mesh=place)
settings = {{**test_train.SETTINGS, "iterations": 1, "beta": 1.0}}
if jax.process_index() == 1:  # a ranker that says something else there: the first one counts
    settings["ranker"] = Length(-1, unit=5.0)
outcome = fine_tune(model, **settings, out=sys.argv[2], mesh=place)
loading.save(outcome.model, sys.argv[3])
"""


def test_two_processes_run_an_iteration(tmp_path):
    loading.save(tiny.model(num_layers=1), tmp_path / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = TWO.format(tests=str(Path(__file__).parent))
    running = []
    for place in range(2):
        environment = {
            **os.environ,
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(place),
        }
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            script,
            tmp_path / "model",
            tmp_path / "run",
            tmp_path / "saved",
        ]
        running.append(
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        )
    for process in running:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-3000:]
    both = json.loads((tmp_path / "run/results.json").read_text())
    alone = fine_tune(
        loading.load(tmp_path / "model"),
        **{**SETTINGS, "iterations": 1, "beta": 1.0},
        out=tmp_path / "alone",
    )
    assert both["pairs"] == alone.pairs
    assert np.allclose([s["loss"] for s in both["steps"]], [s.loss for s in alone.steps], atol=1e-4)
    saved = numbers(loading.load(tmp_path / "saved").network)
    for name, value in numbers(alone.model.network).items():
        assert np.allclose(saved[name], value, atol=1e-5), name
