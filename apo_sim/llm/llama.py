"""Tunix's Llama with the rotary base of its configuration, and logits only where they are asked."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from tunix.models.llama3 import model as tunix


class Attention(tunix.Attention):
    """Grouped-query attention whose rotations have the base that the configuration names.

    Tunix 0.1.7 rotates with base 1e6 whatever its configuration says: right for Mistral, wrong
    for Llama 3 and SmolLM2.
    """

    def block(self, x: Any, segment_pos: Any, cache: Any, attn_mask: Any) -> tuple[Any, Any]:
        """Tunix's block: projections, rotation, cache, attention, projection."""
        layout = self.shd_config.act_btnh
        query, key, value = (
            tunix.shard(project(x), layout)  # type: ignore[arg-type]
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        rotate = functools.partial(
            tunix.apply_rope,
            positions=segment_pos,
            head_dim=self.head_dim,
            rope_theta=self.config.rope_theta,
        )
        query, key = rotate(query), rotate(key)
        new_cache = None
        if cache is not None:
            place = cache["end_index"][0] % cache["v"].shape[1]
            key = jax.lax.dynamic_update_slice_in_dim(cache["k"], key, place, axis=1)
            value = jax.lax.dynamic_update_slice_in_dim(cache["v"], value, place, axis=1)
            new_cache = {"v": value, "k": key, "end_index": cache["end_index"] + x.shape[1]}
        mixed = jax.nn.dot_product_attention(query, key, value, mask=attn_mask[:, None])
        return new_cache, tunix.shard(self.o_proj(mixed), self.shd_config.act_btd)  # type: ignore[arg-type]


class Llama(tunix.Llama3):
    """A Llama-shaped transformer: Llama 2 and 3, SmolLM2, Mistral.

    Args:
        config: `tunix.models.llama3.model.ModelConfig`.
        rngs: of flax, for the first parameters.

    Example:
        >>> config = tunix.ModelConfig(
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

    def __init__(self, config: tunix.ModelConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
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
