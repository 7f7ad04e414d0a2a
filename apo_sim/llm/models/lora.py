"""Low-rank adapters by qwix, carried beside the weights in single precision."""

import re
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import qwix
from flax import nnx

from apo_sim.checks import as_count, as_seed, check_positive, check_single
from apo_sim.errors import InvalidArgument
from apo_sim.llm.models.adapters import DOWN, UP, adapted, effective
from apo_sim.llm.models.loading import Model
from apo_sim.llm.models.stored_parameters import named

ATTENTION = ".*(q_proj|k_proj|v_proj|o_proj)"
EVERYWHERE = ".*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


@dataclass(frozen=True)
class LoRA:
    """Train B of W + (scale / rank) A B in the place of W; A stays as it is drawn.

    The weights are then linear in what is trained, so that momentum on B is momentum on them,
    exactly. A and B are kept, and the network's sums are formed, in single precision whatever that
    of W is: bfloat16 keeps eight bits, so that a weight, or an activation, that training moves by
    less than one part in 256 would be rounded back to where it was. Nothing is merged in a run.

    Args:
        rank: of A B, at least 1.
        scale: qwix' alpha.
        modules: regular expression of the modules that get adapters.
        seed: of A; B starts at zero.

    Raises:
        InvalidArgument: a rank or seed that is no count, a scale that is not positive, modules
            that are no regular expression.

    Source: Hu et al. 2022, with a fixed A as in Zhang et al. 2023 (LoRA-FA). What merging into
    bfloat16 loses: huggingface/peft #1388.

    Example:
        >>> LoRA(rank=8).scale
        16.0
    """

    rank: int = 16
    scale: float = 16.0
    modules: str = EVERYWHERE
    seed: int = 0

    def __post_init__(self) -> None:
        as_count("rank", self.rank)
        as_seed("seed", self.seed)
        check_single("scale", self.scale, "pass one number")
        check_positive("scale", self.scale)
        if not np.finfo(np.float32).tiny < float(self.scale) / self.rank:
            raise InvalidArgument(
                "scale", self.scale, "is zero in single precision", "pass a number such as 1.0"
            )
        try:
            re.compile(self.modules)
        except (re.error, TypeError) as error:
            raise InvalidArgument(
                "modules",
                self.modules,
                f"is not a regular expression ({error})",
                "pass one, such as '.*(q_proj|v_proj)'",
            ) from error

    def into(self, model: Model) -> Model:
        """The model with adapters that change nothing yet.

        Raises:
            InvalidArgument: a model that has adapters already, or none of whose modules match.
        """
        if adapted(model.network):
            raise InvalidArgument(
                "lora", self, "is given for a model that already has adapters", "merge them first"
            )
        provider = _Exact(module_path=self.modules, rank=self.rank, alpha=self.scale)
        inputs = model.network.get_model_input()
        network: Any = qwix.apply_lora_to_model(
            model.network, provider, **inputs, rngs=nnx.Rngs(self.seed)
        )
        if not adapted(network):
            raise InvalidArgument(
                "modules", self.modules, "matches no module of the network", f"try {EVERYWHERE!r}"
            )
        for _, module in nnx.iter_modules(network):
            for name, variable in list(vars(module).items()):
                if name.endswith(DOWN):
                    setattr(module, name, _single(nnx.Param, variable))
                elif name.endswith(UP):
                    share = self.scale / self.rank
                    setattr(module, name, _single(nnx.LoRAParam, variable, share=share))
        return replace(model, network=network)

    def merge(self, network: Any) -> None:
        """W becomes W + (scale / rank) A B, and B zero: the same policy, in its weights.

        The sum is kept in single precision, whatever that of W was: an adapted weight in bfloat16
        takes twice its memory from then on, and the policy is the same. `llm.save` merges by
        itself, one weight after the other in the host's memory.

        Source: ours.
        """
        weights = dict(named(network))
        for name in adapted(network):
            weights[name].set_value(effective(weights, name))
            up = weights[name + UP]
            up.set_value(jnp.zeros_like(up.get_value()))


class _Exact(qwix.LoraProvider):
    """Adapted products in single precision: in bfloat16, most of a change is rounded away."""

    def einsum(self, einsum_str: str, *operands: Any, **kwargs: Any) -> Any:
        first, *others = operands
        return super().einsum(einsum_str, first.astype(jnp.float32), *others, **kwargs)

    def dot_general(self, lhs: Any, *others: Any, **kwargs: Any) -> Any:
        return super().dot_general(lhs.astype(jnp.float32), *others, **kwargs)


def _single(kind: type[nnx.Variable], variable: Any, **more: Any) -> nnx.Variable:
    value = variable.get_value().astype(jnp.float32)
    return kind(value, **{**variable.get_metadata(), **more})
