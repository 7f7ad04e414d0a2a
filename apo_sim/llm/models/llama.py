"""Tunix's Llama with the rotations of its configuration, and logits only where they are asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from tunix.models.llama3 import model as tunix

from apo_sim.checks import as_count, check_positive, check_single
from apo_sim.errors import InvalidArgument

SIZES = (
    "num_layers",
    "vocab_size",
    "embed_dim",
    "hidden_dim",
    "num_heads",
    "head_dim",
    "num_kv_heads",
)


@dataclass(frozen=True)
class Config:
    """Sizes of a Llama, and how its rotations are slowed down for a longer context.

    Attributes:
        num_layers: transformer blocks.
        vocab_size: tokens.
        embed_dim: width of the residual stream.
        hidden_dim: of the feed-forward layers.
        num_heads: of queries.
        head_dim: coordinates of a head, an even number.
        num_kv_heads: of keys and values; divides `num_heads`.
        rope_theta: base of the rotations; no integer in some models.
        norm_eps: beneath the square root of a norm.
        weight_tying: whether the embedding is also the last matrix.
        rope_scaling: fields of Hugging Face's entry of that name, as pairs; empty: none.
        remat: whether the backward pass computes the activations of each layer again.

    Raises:
        InvalidArgument: sizes that no Llama has.
    """

    num_layers: int
    vocab_size: int
    embed_dim: int
    hidden_dim: int
    num_heads: int
    head_dim: int
    num_kv_heads: int
    rope_theta: float | int
    norm_eps: float
    weight_tying: bool = False
    rope_scaling: tuple[tuple[str, Any], ...] = ()
    remat: bool = False

    def __post_init__(self) -> None:
        for name in SIZES:
            as_count(name, getattr(self, name))
        for name in ("rope_theta", "norm_eps"):
            check_single(name, getattr(self, name), "pass one number")
            check_positive(name, getattr(self, name))
        if self.head_dim % 2:
            raise InvalidArgument(
                "head_dim",
                self.head_dim,
                "is odd",
                "pass an even number, because dimensions are rotated in pairs",
            )
        if self.num_heads % self.num_kv_heads:
            raise InvalidArgument(
                "num_kv_heads",
                self.num_kv_heads,
                f"does not divide num_heads = {self.num_heads}",
                "pass a number that does",
            )

    def of_tunix(self) -> Any:  # Tunix comes without types
        """Tunix's `ModelConfig` of these sizes; its rotations are ours."""
        own = {name: getattr(self, name) for name in (*SIZES, "norm_eps", "weight_tying")}
        keep = tunix.RematConfig.DECODER if self.remat else tunix.RematConfig.NONE
        return tunix.ModelConfig(**own, rope_theta=int(self.rope_theta), remat_config=keep)


def rope_periods(config: Config) -> np.ndarray:
    """Tokens in which each pair of coordinates turns by one radian, shape (head_dim / 2,).

    Source: Su et al. 2021; "llama3" and "linear" as in Hugging Face's transformers. The first
    leaves fast rotations as they are, slows down slow ones, and those between by degrees.

    Example:
        >>> sizes = dict(num_layers=1, vocab_size=5, embed_dim=8, hidden_dim=8, num_heads=2)
        >>> sizes |= dict(head_dim=4, num_kv_heads=1, rope_theta=10_000, norm_eps=1e-5)
        >>> rope_periods(Config(**sizes)).tolist()
        [1.0, 100.0]
        >>> scaling = (("rope_type", "linear"), ("factor", 2.0))
        >>> rope_periods(Config(**sizes, rope_scaling=scaling)).tolist()
        [2.0, 200.0]
    """
    pairs = config.head_dim // 2
    periods = float(config.rope_theta) ** (np.arange(pairs) / pairs)
    scaling = dict(config.rope_scaling)
    if not scaling:
        return periods
    factor = scaling["factor"]
    if scaling["rope_type"] == "linear":
        return factor * periods
    fast, slow = scaling["high_freq_factor"], scaling["low_freq_factor"]
    turns = scaling["original_max_position_embeddings"] / (2.0 * np.pi * periods)
    kept = np.clip((turns - slow) / (fast - slow), 0.0, 1.0)
    return periods / (kept + (1.0 - kept) / factor)


def rotated(
    x: Float[Array, "batch length heads head"],
    positions: Int[Array, "batch length"],
    periods: Sequence[float],
) -> Float[Array, "batch length heads head"]:
    """Queries or keys, the first half of each turned against the second by its position."""
    angle = (positions[..., None] / jnp.asarray(periods, jnp.float32))[..., None, :]
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    first, second = jnp.split(x, 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def attended(
    query: Float[Array, "batch length heads head"],
    key: Float[Array, "batch span keys head"],
    value: Float[Array, "batch span keys head"],
    mask: Bool[Array, "#batch #length span"],
) -> Float[Array, "batch length heads head"]:
    """Means of the values, weighed by how well their keys match each query."""
    exact = query.dtype
    if exact == jnp.float16:  # for which JAX has a product on GPUs only
        query, key, value = (x.astype(jnp.float32) for x in (query, key, value))
    found = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None])
    return found.astype(exact)


class Attention(tunix.Attention):
    """Grouped-query attention whose rotations are those that the configuration asks for.

    Tunix up to 0.1.8 rotates with base 1e6 whatever its configuration says: right for Mistral,
    wrong for Llama 3 and SmolLM2; and it knows no scaling, which Llama 3.1 and later have.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config.of_tunix(), rngs=rngs)
        self.periods: tuple[float, ...] = tuple(rope_periods(config).tolist())

    def block(self, x: Any, segment_pos: Any, cache: Any, attn_mask: Any) -> tuple[Any, Any]:
        """Tunix's block: projections, rotation, cache, attention, projection."""
        layout = self.shd_config.act_btnh
        query, key, value = (
            tunix.shard(project(x), layout)  # type: ignore[arg-type]
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = (rotated(x, segment_pos, self.periods) for x in (query, key))
        new_cache = None
        if cache is not None:
            place = cache["end_index"][0] % cache["v"].shape[1]
            key = jax.lax.dynamic_update_slice_in_dim(cache["k"], key, place, axis=1)
            value = jax.lax.dynamic_update_slice_in_dim(cache["v"], value, place, axis=1)
            new_cache = {"v": value, "k": key, "end_index": cache["end_index"] + x.shape[1]}
        mixed = attended(query, key, value, attn_mask)
        return new_cache, tunix.shard(self.o_proj(mixed), self.shd_config.act_btd)  # type: ignore[arg-type]


class Llama(tunix.Llama3):
    """A Llama-shaped transformer: Llama 2 and 3, SmolLM2, Mistral.

    Args:
        config: sizes.
        rngs: of flax, for the first parameters.

    Example:
        >>> config = Config(
        ...     num_layers=1,
        ...     vocab_size=5,
        ...     embed_dim=8,
        ...     hidden_dim=8,
        ...     num_heads=2,
        ...     head_dim=4,
        ...     num_kv_heads=1,
        ...     rope_theta=10_000,
        ...     norm_eps=1e-5,
        ... )
        >>> model = Llama(config, rngs=nnx.Rngs(0))
        >>> tokens, mask = jnp.zeros((1, 3), int), jnp.tril(jnp.ones((1, 3, 3), bool))
        >>> model(tokens, jnp.arange(3)[None], None, mask, last=2)[0].shape
        (1, 2, 5)
    """

    config: Config  # type: ignore[assignment]

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        super().__init__(config.of_tunix(), rngs=rngs)
        self.config = config
        for layer in self.layers:
            layer.attn = Attention(config, rngs=rngs)

    def __call__(  # type: ignore[override]
        self,
        input_tokens: Int[Array, "batch length"],
        positions: Int[Array, "batch length"],
        cache: Any,
        attention_mask: Bool[Array, "batch queries span"],
        decode_only_last_token: bool = False,
        last: int | None = None,
    ) -> tuple[Float[Array, "batch last vocabulary"], Any]:
        """Logits after the last so many tokens (None: all of them), and the cache."""
        new_cache: dict[str, Any] | None = None if cache is None else {}
        hidden = self.embedder.encode(input_tokens)
        for number, layer in enumerate(self.layers):
            name = f"layer_{number}"
            kept = None if cache is None else cache[name]
            kept, hidden = layer(hidden, positions, kept, attention_mask)
            if new_cache is not None:
                new_cache[name] = kept
        if decode_only_last_token:
            last = 1
        hidden = self.final_norm(hidden if last is None else hidden[:, -last:])
        head = self.embedder.decode if self.config.weight_tying else self.lm_head
        return head(hidden), new_cache

    def init_cache(self, batch_size: int, cache_size: int, dtype: Any) -> dict[str, Any]:
        """Empty keys and values of every layer, for the sampler."""
        shape = (batch_size, cache_size, self.config.num_kv_heads, self.config.head_dim)
        return {
            f"layer_{number}": {
                "k": jnp.zeros(shape, dtype),
                "v": jnp.zeros(shape, dtype),
                "end_index": jnp.zeros((batch_size,), jnp.int32),
            }
            for number in range(self.config.num_layers)
        }
