"""How much memory an iteration takes, and where: counted, not measured."""

from dataclasses import dataclass

from apo_sim.checks import as_count, check_positive, check_single
from apo_sim.errors import InvalidArgument, UnknownName

BYTES = {"float32": 4, "bfloat16": 2}
# More than any model has, and few enough to count their bytes.
_MOST = 1e15


@dataclass(frozen=True)
class Memory:
    """Gibibytes that the parameters take, activations and the sampler's cache left out.

    Attributes:
        device: of each device, at the height of a training step.
        host: of all hosts together.
        disk: checkpoints of one iteration.
    """

    device: float
    host: float
    disk: float


def memory(
    parameters: float | int, *, dtype: str = "float32", devices: int = 1, lora: bool = False
) -> Memory:
    """What a model of so many parameters takes.

    On the devices: the parameters, the gradient, and RMSProp's mean of squares; with LoRA the
    parameters alone, which no step changes. In the hosts' memory: pi_hat_t for the extrapolation
    and, while policies are judged, the reference policy and the policy that waits (with LoRA only
    adapters wait). Momentum adds nothing on the devices. Not counted is what XLA gathers: each
    device may see all of a layer's weights at a time, and without remat those of all layers.

    Args:
        parameters: how many.
        dtype: float32 or bfloat16.
        devices: that share them (FSDP).
        lora: train adapters only.

    Raises:
        InvalidArgument: no number of parameters or devices, or another precision.

    Source: ours.

    Example:
        >>> memory(134_515_008).device
        1.5
    """
    check_single("parameters", parameters, "pass one number")
    check_positive("parameters", parameters)
    if parameters > _MOST:
        raise InvalidArgument(
            "parameters", parameters, "is more than any model has", "pass the number of parameters"
        )
    if dtype not in BYTES:
        raise UnknownName("dtype", dtype, BYTES)
    as_count("devices", devices)
    copy = parameters * BYTES[dtype] / 2**30
    return Memory(
        device=round((1 if lora else 3) * copy / devices, 1),
        host=round(3 * copy, 1),
        disk=round(3 * copy, 1),
    )
