"""LoRA on weights of few bits: nothing that training moved is rounded away, wherever it goes."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import apo_sim as apo
from apo_sim import InvalidArgument

pytest.importorskip("tunix")

from apo_sim.llm import fine_tune
from apo_sim.llm.data import instructions
from apo_sim.llm.data.preference_pairs import Preference
from apo_sim.llm.data.rankers import Length
from apo_sim.llm.data.responses import Sampling
from apo_sim.llm.models import loading, stored_parameters, tiny
from apo_sim.llm.models.adapters import adapted, effective, trained
from apo_sim.llm.models.loading import Model
from apo_sim.llm.models.lora import LoRA
from apo_sim.llm.training.foresight import StepsRounded
from apo_sim.llm.training.parameter_momentum import Extrapolator
from apo_sim.llm.training.step import FineTuning, ProximalTrainer

pytestmark = pytest.mark.llm

DEFAULT_RATE = FineTuning().learning_rate
SIZES = {"num_layers": 1, "embed_dim": 32, "head_dim": 8, "hidden_dim": 64}


@pytest.fixture(autouse=True)
def single_precision():
    """As in a run."""
    with jax.enable_x64(False):
        yield


def narrow(dtype=jnp.bfloat16, **changes):
    """A tiny model whose weights have few bits."""
    model = tiny.model(**{**SIZES, **changes})
    for _, leaf in stored_parameters.named(model.network):
        leaf.set_value(leaf.get_value().astype(dtype))
    return model


def numbers(network):
    """What every weight amounts to, in double precision."""
    leaves = dict(stored_parameters.named(network))
    return {n: np.asarray(effective(leaves, n), float) for n in leaves if "_lora_" not in n}


def some_pairs(number):
    random = np.random.default_rng(0)

    def some(length):
        return tuple(map(int, random.integers(2, 30, length)))

    return [Preference(some(3), some(5), some(4)) for _ in range(number)]


def moved(model, lora, pairs, tuning):
    """Log-probabilities of the pairs before a step, after it, and after merging it."""
    trainer = ProximalTrainer(model.network, apo.DPO(), tuning, model.tokenizer.padding)
    before, start = trainer.log_probs(pairs), stored_parameters.of(model.network)
    trainer.step(pairs, before, beta=0.1, seed=0)
    for name, value in stored_parameters.of(model.network).items():
        assert value.dtype == start[name].dtype, name
        assert np.array_equal(value, start[name]) != name.endswith("_lora_b"), name
    after, carried = trainer.log_probs(pairs), numbers(model.network)
    lora.merge(model.network)
    return before, after, trainer.log_probs(pairs), carried


@pytest.mark.parametrize(
    "dtype",
    [
        jnp.bfloat16,
        pytest.param(jnp.float16, marks=pytest.mark.long),
        pytest.param(jnp.float32, marks=pytest.mark.long),
    ],
)
def test_merging_keeps_what_training_moved(dtype):
    lora, model = LoRA(rank=4, scale=4.0), narrow(dtype)
    start, model = numbers(model.network), lora.into(model)
    kinds = {name: leaf.get_value().dtype for name, leaf in stored_parameters.named(model.network)}
    assert {kinds[name] for name in kinds if "_lora_" in name} == {jnp.dtype("float32")}
    assert {kinds[name] for name in start} == {jnp.dtype(dtype)}
    tuning = FineTuning(DEFAULT_RATE, batch=8, epochs=3)
    before, after, merged, carried = moved(model, lora, some_pairs(16), tuning)
    assert np.linalg.norm(merged - after) < 0.1 * np.linalg.norm(after - before)
    plain = {
        n: np.asarray(leaf.get_value(), float) for n, leaf in stored_parameters.named(model.network)
    }
    for name in adapted(model.network):
        assert np.array_equal(plain[name], carried[name]), name
        assert np.mean(plain[name] == start[name]) < 0.1, name
        assert not plain[f"{name}_lora_b"].any()
        # Control: in the precision that the weights came in, next to nothing of it would be left.
        rounded = plain[name].astype(dtype)
        assert dtype == jnp.float32 or np.mean(rounded == start[name].astype(dtype)) > 0.9


def test_momentum_on_the_factors_is_momentum_on_the_weights():
    model, random, alpha = LoRA(rank=2).into(narrow()), np.random.default_rng(0), 0.5
    names, weights = trained(model.network), [numbers(model.network)]
    extrapolator = Extrapolator(model.network, apo.Constant(alpha), names)
    for t in (1, 2):
        leaves = dict(stored_parameters.named(model.network))
        for name in names:
            old = leaves[name].get_value()
            leaves[name].set_value(old + 1e-6 * random.normal(size=old.shape).astype(np.float32))
        weights.append(numbers(model.network))
        extrapolator.extrapolate(model.network, t)
        found = numbers(model.network)
        for name in adapted(model.network):
            step = weights[t][name] - weights[t - 1][name]
            expected = weights[t][name] + alpha * step
            # The sums of both sides are rounded to single precision, of weights of size one.
            assert np.allclose(found[name], expected, rtol=0, atol=5e-7), name
            assert np.abs(step).max() > 2e-6


SETTINGS = {
    "prompts": ["w3 w4", "w5 w6", "w7", "w8 w9"],
    "held_out": ["w3", "w9 w8"],
    "ranker": Length(unit=5.0),
    "beta": 1.0,
    "iterations": 2,
    "momentum": apo.Constant(0.5),
    "sampling": Sampling(3, 1.0, 1.0, max_tokens=4, max_prompt=4, batch=6),
    "tuning": FineTuning(1e-2, batch=2, optimizer=optax.sgd),
    "lora": LoRA(rank=2, scale=4.0),
    "progress": False,
}


@pytest.mark.parametrize(("rank", "dtype"), [(None, "bfloat16"), (4, "float32")])
def test_what_is_saved_says_the_precision_that_holds_it(rank, dtype, tmp_path):
    """transformers reads all weights in the dtype of config.json: merged ones would be rounded."""
    model = narrow() if rank is None else LoRA(rank).into(narrow())
    loading.save(model, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == dtype


@pytest.mark.long
def test_a_run_goes_on_to_the_same_bits_and_is_saved_as_it_is(tmp_path):
    whole = fine_tune(narrow(), **SETTINGS, out=tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    shutil.rmtree(tmp_path / "part/iteration-2/hat")
    (tmp_path / "part/results.json").unlink()
    again = fine_tune(narrow(), **SETTINGS, out=tmp_path / "part")
    assert again.rows == whole.rows and again.steps == whole.steps
    policy, start = numbers(whole.model.network), numbers(narrow().network)
    for name, value in numbers(again.model.network).items():
        assert np.array_equal(value, policy[name]), name
    assert any(not np.array_equal(policy[name], start[name]) for name in policy)
    loading.save(whole.model, tmp_path / "saved")
    for name, value in numbers(loading.load(tmp_path / "saved").network).items():
        assert np.array_equal(value, policy[name]), name


def test_what_would_train_something_else_is_refused():
    model = tiny.model(num_layers=1)
    with pytest.raises(InvalidArgument, match=r"modules = '.*wq.*' matches no module"):
        LoRA(modules=".*(wq|wv)").into(model)
    with pytest.raises(InvalidArgument, match="already has adapters; merge them first"):
        LoRA(2).into(LoRA(2).into(model))
    for make, argument in (
        (lambda: LoRA(modules="(q_proj"), "modules"),
        (lambda: LoRA(rank=0), "rank"),
        (lambda: LoRA(scale=float("nan")), "scale"),
        (lambda: LoRA(seed=-1), "seed"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            make()
        assert caught.value.argument == argument


def test_training_all_parameters_in_few_bits_is_not_silent():
    few, many, adapters = (
        model.network for model in (narrow(), tiny.model(), LoRA(2).into(narrow()))
    )
    with pytest.warns(StepsRounded, match="are bfloat16, which keeps 8 bits: .* 5e-07"):
        ProximalTrainer(few, apo.DPO(), FineTuning(), 0)
    # Control: as an error, it would stop these.
    ProximalTrainer(many, apo.DPO(), FineTuning(), 0)
    ProximalTrainer(adapters, apo.DPO(), FineTuning(), 0)


def of_gemma():
    """A network of Tunix's own that brings no cache for the sampler."""
    from flax import nnx
    from tunix.models.gemma3 import model as gemma

    config = gemma.ModelConfig(
        num_layers=1,
        embed_dim=16,
        hidden_dim=24,
        num_heads=2,
        head_dim=8,
        num_kv_heads=1,
        num_embed=len(tiny.WORDS),
        sliding_window_size=32,
    )
    network, random = gemma.Gemma3(config, rngs=nnx.Rngs(0)), np.random.default_rng(0)
    for _, leaf in stored_parameters.named(network):
        shape = leaf.get_value().shape
        leaf.set_value(jnp.asarray(0.3 * random.normal(size=shape), jnp.bfloat16))
    return Model(network, tiny.tokenizer(), context=64, name="gemma")


@pytest.mark.long
def test_other_families_draw_and_train_with_adapters():
    outcome = fine_tune(of_gemma(), **{**SETTINGS, "iterations": 1})
    assert np.isfinite(outcome.steps[-1].loss) and outcome.rows[-1].figures.kl.value > 0


@pytest.mark.long
def test_smollm2_keeps_what_training_moved():
    """At the paper's learning rate, in bfloat16, on a few pairs of real length."""
    model = LoRA().into(loading.load("smollm2", dtype=jnp.bfloat16))
    texts = "It is a matter of practice.", "I do not know.", "Go there early in the morning."
    tokenizer = model.tokenizer
    given = [tuple(tokenizer.encode(text)) for text in texts]
    pairs = [
        Preference(tuple(tokenizer.prompt_tokens(prompt.text)), given[n % 3], given[(n + 1) % 3])
        for n, prompt in enumerate(instructions.generate(8))
    ]
    before, after, merged, _ = moved(model, LoRA(), pairs, FineTuning(batch=4))
    change = np.linalg.norm(after - before)
    assert change > 0.01  # nats
    assert np.linalg.norm(merged - after) < 0.1 * change
    print(f"merging loses {np.linalg.norm(merged - after) / change:.2%} of {change:.3g} nats")


def test_a_scale_that_vanishes_in_single_precision_is_refused():
    with pytest.raises(InvalidArgument, match="scale = 1e-44 is zero in single precision"):
        LoRA(rank=4, scale=1e-44)
