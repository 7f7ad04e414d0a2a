"""Low-rank adapters by qwix, and the weights that they amount to."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import qwix
from flax import nnx

from apo_sim.checks import as_count, check_positive
from apo_sim.llm.models import Model
from apo_sim.llm.parameters import named

ATTENTION = ".*(q_proj|k_proj|v_proj|o_proj)"
EVERYWHERE = ".*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"

_DOWN, _UP = "_lora_a", "_lora_b"


@dataclass(frozen=True)
class LoRA:
    """Train W + (scale / rank) A B in the place of W.

    Args:
        rank: of A B, at least 1.
        scale: qwix' alpha.
        modules: regular expression of the modules that get adapters.
        seed: of the first A; B starts at zero.

    Raises:
        InvalidArgument: a rank that is no count, a scale that is not positive.

    Source: Hu et al. 2022.

    Example:
        >>> LoRA(rank=8).scale
        16.0
    """

    rank: int = 16
    scale: float = 16.0
    modules: str = EVERYWHERE
    seed: int = 0

    def __post_init__(self):
        as_count("rank", self.rank)
        check_positive("scale", self.scale)

    def into(self, model: Model) -> Model:
        """The model with adapters that change nothing yet."""
        provider = qwix.LoraProvider(module_path=self.modules, rank=self.rank, alpha=self.scale)
        inputs = model.network.get_model_input()
        network = qwix.apply_lora_to_model(
            model.network, provider, **inputs, rngs=nnx.Rngs(self.seed)
        )
        return replace(model, network=network)

    def merge(self, network: Any) -> None:
        """W becomes W + (scale / rank) A B, and B zero: the same policy, in its weights.

        So momentum acts on the effective weights. Extrapolating A and B would extrapolate
        neither: (1 + a)^2 A B is not (1 + a) A B.

        Source: ours.
        """
        weights = dict(named(network))
        for name in adapted(network):
            base, down, up = (weights[name + part] for part in ("", _DOWN, _UP))
            merged = _merged(
                base.get_value(), down.get_value(), up.get_value(), self.scale / self.rank
            )
            base.set_value(merged)
            up.set_value(jnp.zeros_like(up.get_value()))


def adapted(network: Any) -> list[str]:
    """Names of the weights that have adapters."""
    return [name.removesuffix(_DOWN) for name, _ in named(network) if name.endswith(_DOWN)]


@jax.jit
def _merged(base: Any, down: Any, up: Any, scale: Any) -> Any:
    change = jnp.tensordot(down.astype(jnp.float32), up.astype(jnp.float32), 1)
    return (base + scale * change.reshape(base.shape)).astype(base.dtype)
