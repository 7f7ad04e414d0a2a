"""How much memory an iteration takes, and where: counted, not measured."""

from dataclasses import dataclass

from apo_sim.checks import as_count
from apo_sim.errors import UnknownName

BYTES = {"float32": 4, "bfloat16": 2}


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

    On the devices: the parameters before and after a step, the gradient, and RMSProp's mean of
    squares, or with LoRA the parameters and, when they are merged, one of them more. In the hosts'
    memory: pi_hat_t for the extrapolation and, while policies are judged, the reference policy
    and the policy that waits. Momentum adds nothing on the devices.

    Args:
        parameters: how many.
        dtype: float32 or bfloat16.
        devices: that share them (FSDP).
        lora: train adapters only.

    Source: ours.

    Example:
        >>> memory(134_515_008).device
        2.0
    """
    if dtype not in BYTES:
        raise UnknownName("dtype", dtype, BYTES)
    as_count("devices", devices)
    copy = parameters * BYTES[dtype] / 2**30
    return Memory(
        device=round((1 if lora else 4) * copy / devices, 1),
        host=round(3 * copy, 1),
        disk=round(3 * copy, 1),
    )
