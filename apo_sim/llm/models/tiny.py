"""A tiny random transformer with a tokenizer of words: to try things out in seconds."""

import dataclasses
from typing import Any

import jax
import numpy as np
import tokenizers
from flax import nnx
from tokenizers import models as kinds
from tokenizers import pre_tokenizers

from apo_sim.checks import as_count, as_seed
from apo_sim.errors import UnknownName
from apo_sim.llm.models.llama import SIZES, Config, Llama
from apo_sim.llm.models.loading import Model
from apo_sim.llm.models.text import Tokenizer

# Of one size: beyond it, "tiny" is a slip.
_LARGEST = 4096
WORDS = ("<pad>", "<end>", *(f"w{number}" for number in range(30)))


def tokenizer() -> Tokenizer:
    """Thirty words, a token that ends and one that pads."""
    inner = tokenizers.Tokenizer(
        kinds.WordLevel({word: place for place, word in enumerate(WORDS)}, "w0")
    )
    inner.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    inner.add_special_tokens([tokenizers.AddedToken(word, special=True) for word in WORDS[:2]])
    return Tokenizer(inner, begin=None, end=1, padding=0)


def config(**changes: Any) -> Config:
    """Sizes of the tiny model, or others.

    Raises:
        InvalidArgument: a size that is unknown, or that no tiny model has.
    """
    sizes: dict[str, Any] = {
        "num_layers": 2,
        "vocab_size": len(WORDS),
        "embed_dim": 16,
        "hidden_dim": 24,
        "num_heads": 4,
        "head_dim": 4,
        "num_kv_heads": 2,
        "rope_theta": 10_000,
        "norm_eps": 1e-5,
        "weight_tying": False,
    }
    known = [field.name for field in dataclasses.fields(Config)]
    for name, value in changes.items():
        if name not in known:
            raise UnknownName("changes", name, known)
        if name in SIZES:
            as_count(name, value, most=_LARGEST)
    return Config(**{**sizes, **changes})


def model(seed: int = 0, **changes: Any) -> Model:
    """A Llama with random weights.

    Args:
        seed: of the weights, in [0, 2**32).
        **changes: other sizes, fields of `apo_sim.llm.models.llama.Config`.

    Raises:
        InvalidArgument: what `config` says, or no seed.

    Example:
        >>> model(num_layers=1).parameters
        2992
    """
    random, sizes = np.random.default_rng(as_seed("seed", seed)), config(**changes)
    network = nnx.eval_shape(lambda: Llama(sizes, rngs=nnx.Rngs(0)))
    # Tunix begins its feed-forward layers at zero; let all of them matter.
    for _, leaf in nnx.to_flat_state(nnx.state(network, nnx.Param)):
        shape = leaf.get_value().shape
        values = 0.3 * random.normal(size=shape) if len(shape) > 1 else np.ones(shape)
        leaf.set_value(jax.device_put(values.astype(np.float32), jax.local_devices()[0]))
    return Model(network, tokenizer(), context=256, name="tiny")
