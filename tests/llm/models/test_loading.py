"""Loaders: round trips, an independent transformer in NumPy, and what damaged files say."""

import dataclasses
import json

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from apo_sim import InvalidArgument
from apo_sim.llm.models import (
    _checkpoint,
    _gguf_file,
    _huggingface,
    llama,
    loading,
    stored_parameters,
    tiny,
)

pytestmark = pytest.mark.llm


def logits(model, tokens):
    length = len(tokens)
    mask = jnp.tril(jnp.ones((1, length, length), bool))
    network = nnx.jit(lambda n, t: n(t, jnp.arange(length)[None], None, mask)[0])
    return np.asarray(network(model.network, jnp.asarray([tokens])))[0]


def by_numpy(weights, config, tokens):
    """A Llama written down anew, from tensors in Hugging Face's layout."""

    def norm(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_eps) * weights[name]

    def heads(x, name, number):
        return (x @ weights[name].T).reshape(len(tokens), number, -1).swapaxes(0, 1)

    half = config.head_dim // 2
    angle = np.arange(len(tokens))[:, None] * frequencies(config)

    def rotate(x):
        first, second = x[..., :half], x[..., half:]
        cos, sin = np.cos(angle), np.sin(angle)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)

    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    x = weights["model.embed_tokens.weight"][tokens]
    share = config.num_heads // config.num_kv_heads
    for number in range(config.num_layers):
        at = f"model.layers.{number}."
        y = norm(x, at + "input_layernorm.weight")
        query = rotate(heads(y, at + "self_attn.q_proj.weight", config.num_heads))
        key = rotate(heads(y, at + "self_attn.k_proj.weight", config.num_kv_heads))
        value = heads(y, at + "self_attn.v_proj.weight", config.num_kv_heads)
        key, value = key.repeat(share, 0), value.repeat(share, 0)
        score = query @ key.swapaxes(1, 2) / np.sqrt(config.head_dim)
        score = np.where(np.tril(np.ones(score.shape[1:], bool)), score, -np.inf)
        score = np.exp(score - score.max(-1, keepdims=True))
        mixed = (score / score.sum(-1, keepdims=True)) @ value
        x = (
            x
            + mixed.swapaxes(0, 1).reshape(len(tokens), -1)
            @ weights[at + "self_attn.o_proj.weight"].T
        )
        y = norm(x, at + "post_attention_layernorm.weight")
        gate = y @ weights[at + "mlp.gate_proj.weight"].T
        up = y @ weights[at + "mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[at + "mlp.down_proj.weight"].T
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    return norm(x, "model.norm.weight") @ head.T


def frequencies(config):
    """Radians a token, one pair of coordinates at a time, as the papers and Llama 3.1 have them."""
    scaling, half = dict(config.rope_scaling), config.head_dim // 2
    found = []
    for place in range(half):
        base = config.rope_theta ** (-place / half)
        if scaling.get("rope_type") == "linear":
            base /= scaling["factor"]
        elif scaling:
            length = 2 * np.pi / base
            context = scaling["original_max_position_embeddings"]
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            if length > context / low:
                base /= scaling["factor"]
            elif length > context / high:
                share = (context / length - low) / (high - low)
                base = (1 - share) * base / scaling["factor"] + share * base
        found.append(base)
    return np.array(found)


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_scaling": (("rope_type", "linear"), ("factor", 4.0))}
SCALED = {"head_dim": 16, "rope_scaling": tuple(LLAMA3.items())}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_tying": True, "rope_theta": 100_000},
        SCALED,
        LINEAR,
    ],
)
def test_the_network_is_a_llama(changes):
    model, tokens = tiny.model(**changes), [3, 9, 4, 1, 22, 7]
    expected = by_numpy(_checkpoint.weights(model.network), model.network.config, tokens)
    assert np.abs(logits(model, tokens) - expected).max() < 1e-4
    # Control: with the base that Tunix takes whatever its configuration says.
    wrong = dataclasses.replace(model.network.config, rope_theta=1_000_000, rope_scaling=())
    assert (
        np.abs(by_numpy(_checkpoint.weights(model.network), wrong, tokens) - expected).max() > 1e-2
    )


def test_half_precision_is_computed_where_jax_has_no_product_of_it(tmp_path):
    """float16: JAX's attention asks for a product that only GPUs have."""
    model, tokens = tiny.model(), [3, 9, 4, 1, 22, 7]
    rounded = loading.load(loading.save(model, tmp_path / "model"), dtype="float16")
    expected = by_numpy(_checkpoint.weights(model.network), model.network.config, tokens)
    found = logits(rounded, tokens)
    assert found.dtype == np.float16
    # Numbers keep eleven bits, and pass through about ten roundings.
    assert np.abs(found - expected).max() < 10 * 2.0**-11 * np.abs(expected).max()


def test_scaled_rotations_are_of_all_three_kinds():
    config = tiny.config(**SCALED)
    slowed = frequencies(tiny.config(head_dim=16)) / frequencies(config)
    assert np.allclose(llama.rope_periods(config) * frequencies(config), 1.0)
    assert slowed.min() == 1.0 and slowed.max() == 8.0 and np.any((slowed > 1) & (slowed < 8))


def test_activations_computed_again_give_the_same_gradient(tmp_path):
    folder = loading.save(tiny.model(), tmp_path / "model")
    tokens, mask = jnp.arange(2, 8)[None], jnp.tril(jnp.ones((1, 6, 6), bool))

    def value(network):
        return jnp.mean(network(tokens, jnp.arange(6)[None], None, mask)[0] ** 2)

    found = []
    for remat in (False, True):
        network = loading.load(folder, remat=remat).network
        program = jax.jit(nnx.grad(value)).lower(network)
        assert ("optimization_barrier" in program.as_text()) == remat
        found.append(jax.tree.leaves(nnx.state(nnx.jit(nnx.grad(value))(network))))
    for kept, again in zip(*found, strict=True):
        assert np.allclose(kept, again, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"weight_tying": True}, SCALED])
def test_safetensors_round_trip(tmp_path, changes):
    model = tiny.model(**changes)
    read = loading.load(loading.save(model, tmp_path / "model"))
    assert read.context == model.context and read.network.config == model.network.config
    for before, after in zip(
        *(jax.tree.leaves(nnx.state(m.network)) for m in (model, read)), strict=True
    ):
        assert np.array_equal(before, after)
    assert read.tokenizer.encode("w3 w4 w29") == model.tokenizer.encode("w3 w4 w29")
    assert (read.tokenizer.end, read.tokenizer.padding) == (1, 0)


def test_weights_of_several_files_round_trip(tmp_path, monkeypatch):
    model = tiny.model()
    folder = loading.save(tiny.model(1), tmp_path / "model")  # another, whole, which must go
    monkeypatch.setattr(_huggingface, "MOST_BYTES", 8000)
    read = loading.load(loading.save(model, folder))
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    assert len(sizes) == 3 and max(sizes) < 8000 + 2000, sizes  # the heads come on top
    assert stored_parameters.digest(read.network) == stored_parameters.digest(model.network)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * model.parameters


@pytest.mark.parametrize("window, context", [(None, 256), (100, 100)])
def test_mistral_in_several_files_and_half_precision(tmp_path, window, context):
    """The shape of Mistral-7B-Instruct-v0.2, as it is published, but tiny; v0.1 has a window."""
    from safetensors.numpy import save_file

    model = tiny.model(rope_theta=1_000_000)
    folder = loading.save(model, tmp_path / "mistral")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "mistral", "sliding_window": window, "torch_dtype": "bfloat16"}
    del settings["head_dim"]
    (folder / "config.json").write_text(json.dumps(settings))
    half = {
        name: np.ascontiguousarray(v).astype(jnp.bfloat16)
        for name, v in _checkpoint.weights(model.network).items()
    }
    names = sorted(half)
    (folder / "model.safetensors").unlink()
    for number, part in enumerate((names[::2], names[1::2]), 1):
        save_file(
            {name: half[name] for name in part}, folder / f"model-0000{number}-of-00002.safetensors"
        )
    read = loading.load(folder)
    assert read.context == context
    tokens = [5, 6, 7, 8]
    expected = by_numpy(
        {n: v.astype(np.float32) for n, v in half.items()}, model.network.config, tokens
    )
    assert np.abs(logits(read, tokens) - expected).max() < 1e-4


def write_gguf(path, model):
    """A GGUF file as llama.cpp's converter writes it: queries and keys interleaved."""
    config, inner = model.network.config, model.tokenizer.inner
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_layers)
    writer.add_context_length(model.context)
    writer.add_embedding_length(config.embed_dim)
    writer.add_feed_forward_length(config.hidden_dim)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_rope_freq_base(float(config.rope_theta))
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    names = [inner.id_to_token(number) for number in range(config.vocab_size)]
    writer.add_token_list([*names[:2], "a", "b", "ab", *names[5:]])
    writer.add_token_types([3, 3] + [1] * (config.vocab_size - 2))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(1)
    for name, tensor in _checkpoint.weights(model.network).items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            halves = tensor.reshape(-1, 2, config.head_dim // 2, config.embed_dim)
            tensor = halves.swapaxes(1, 2).reshape(tensor.shape)
        writer.add_tensor(_gguf_file.tensor_name(name), np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_round_trip(tmp_path):
    model = tiny.model(embed_dim=32, head_dim=8)
    path = tmp_path / "tiny.gguf"
    write_gguf(path, model)
    read = loading.load(path)
    for before, after in zip(
        *(jax.tree.leaves(nnx.state(m.network)) for m in (model, read)), strict=True
    ):
        assert np.allclose(before, after)
    assert read.tokenizer.encode("abba<end>") == [4, 3, 2, 1]


@pytest.mark.slow
def test_the_packaged_model_knows_paris():
    """The real one: an independent transformer gives its logits, and they name the capital."""
    model = loading.load("smollm2")
    assert model.parameters == 134_515_008
    tokens = model.tokenizer.prompt_tokens("What is the capital of France?")
    tokens += model.tokenizer.encode("The capital of France is")
    ours = logits(model, tokens)
    expected = by_numpy(_checkpoint.weights(model.network), model.network.config, tokens)
    assert np.abs(ours - expected).max() < 1e-3
    assert model.tokenizer.decode([int(ours[-1].argmax())]) == " Paris"


@pytest.mark.slow
def test_transformers_agrees(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is in the extra `bench`")
    transformers = pytest.importorskip("transformers")
    model = loading.load("smollm2")
    tokens = model.tokenizer.prompt_tokens("Count from 1 to 12, please.")
    folder = loading.save(model, tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor([tokens])).logits[0].numpy()
    assert np.abs(logits(model, tokens) - expected).max() < 1e-3
    chat = [{"role": "user", "content": "Count from 1 to 12, please."}]
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    assert reader.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] == tokens


@pytest.mark.parametrize("changes", [{}, SCALED, LINEAR])
def test_transformers_has_the_same_rotations(tmp_path, changes):
    torch = pytest.importorskip("torch", reason="PyTorch is in the extra `bench`")
    transformers = pytest.importorskip("transformers")
    model, tokens = tiny.model(**changes), list(range(2, 32)) * 4
    folder = loading.save(model, tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor([tokens])).logits[0].numpy()
    assert np.abs(logits(model, tokens) - expected).max() < 1e-3


def refused(source):
    with pytest.raises(InvalidArgument) as caught:
        loading.load(source)
    return str(caught.value)


def test_what_cannot_be_loaded_is_named(tmp_path):
    folder = loading.save(tiny.model(), tmp_path / "model")
    assert "does not exist" in refused(tmp_path / "elsewhere")
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, settings = weights.read_bytes(), json.loads(config.read_text())
    weights.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as safetensors" in refused(folder)
    weights.unlink()
    assert "holds no safetensors" in refused(folder)
    weights.write_bytes(whole)
    for changes, said in (
        ({"model_type": "gpt2"}, "is of type 'gpt2'"),
        ({"num_hidden_layers": 3}, "lacks model.layers.2"),
        ({"vocab_size": 40}, "differs from the shape"),
        ({"num_hidden_layers": 1}, "holds model.layers.1.input_layernorm.weight, which a Llama"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "is not supported"),
        ({"rope_scaling": {"rope_type": "linear"}}, "lacks 'factor'"),
    ):
        config.write_text(json.dumps({**settings, **changes}))
        assert said in refused(folder)
    less = {name: value for name, value in settings.items() if "max_position" not in name}
    config.write_text(json.dumps(less))
    assert "lacks 'max_position_embeddings'" in refused(folder)
    config.write_text("{")
    assert "is not JSON" in refused(folder)
    config.write_text(json.dumps(settings))
    (folder / "tokenizer.json").write_text("{}")
    assert "cannot be read as a tokenizer" in refused(folder)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and nothing else")
    assert "cannot be read as GGUF" in refused(broken)
