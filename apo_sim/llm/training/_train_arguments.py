"""The arguments of `fine_tune`, checked before anything compiles, is written or is drawn."""

from typing import Any

import jax
import numpy as np

from apo_sim.arguments import check_momentum
from apo_sim.checks import (
    NON_NEGATIVE,
    POSITIVE,
    Kind,
    as_count,
    as_flag,
    as_function,
    as_seed,
    check_single,
    instance_of,
    optional,
)
from apo_sim.errors import InvalidArgument
from apo_sim.llm.data.preference_pairs import Pairing
from apo_sim.llm.data.rankers import ResponseRanker
from apo_sim.llm.data.responses import Sampling
from apo_sim.llm.models import stored_parameters
from apo_sim.llm.models.loading import Model
from apo_sim.llm.models.lora import LoRA
from apo_sim.llm.models.meshes import AXES
from apo_sim.llm.training.objectives import Objective, as_objective
from apo_sim.llm.training.source import Source
from apo_sim.llm.training.step import FineTuning


def as_expo(name: str, value: Any) -> float:
    """The kind of ExPO's weight."""
    check_single(name, value, NON_NEGATIVE.remedy)
    NON_NEGATIVE.check(name, value)
    return float(value)


KINDS: dict[str, Kind] = {
    "model": instance_of(Model, "is no model", "pass what apo_sim.llm.load returns"),
    "ranker": optional(
        instance_of(ResponseRanker, "is no ranker", "pass an instance such as Verifiable()")
    ),
    "iterations": as_count,
    "sampling": instance_of(Sampling, "is no Sampling", "pass Sampling(...)"),
    "pairing": instance_of(Pairing, "is no pairing", "pass an instance such as TopAgainstBottom()"),
    "tuning": instance_of(FineTuning, "is no FineTuning", "pass FineTuning(...)"),
    "lora": optional(instance_of(LoRA, "is no LoRA", "pass LoRA(rank=16), or None")),
    "source": optional(
        instance_of(Source, "is no source", "pass an instance with `pairs`, or None")
    ),
    "seed": as_seed,
    "mesh": optional(
        instance_of(jax.sharding.Mesh, "is no mesh", "pass what apo_sim.llm.mesh returns, or None")
    ),
    "expo": as_expo,
    "progress": as_flag,
    "watch_policy": optional(as_function),
}


def as_betas(beta: Any, iterations: int) -> list[float]:
    """One proximal weight for each iteration, above zero in the precision of the step."""
    values = np.asarray(POSITIVE("beta", beta))
    if values.shape not in ((), (iterations,)):
        raise InvalidArgument(
            "beta", beta, f"has shape {values.shape}", f"pass one number, or {iterations}"
        )
    # As they were given: the step's own rounding comes later.
    return [float(value) for value in np.broadcast_to(np.asarray(beta, float), iterations)]


def as_method(loss: Any, momentum: Any, geometry: Any, iterations: int) -> Objective:
    """What a step minimises; refuse what is no loss or no rule, or a schedule of the wrong length.

    As `run` does, and losses of labelled responses are welcome.
    """
    found = as_objective(loss, geometry)
    check_momentum(momentum, iterations)
    return found


def check_source(source: Any, **given: Any) -> None:
    """Pairs come from prompts and a ranker, or from a source that knows of neither."""
    if source is None:
        if given["ranker"] is None:
            raise InvalidArgument("ranker", None, "is missing", "pass one, as Verifiable()")
        return
    for name, value in given.items():
        if value is not None:
            raise InvalidArgument(
                name, value, "would not be used: the pairs come from `source`", "leave it out"
            )


def check_model(model: Model, mesh: jax.sharding.Mesh | None) -> None:
    """Refuse weights that are no numbers, or lie elsewhere than on the mesh."""
    if not stored_parameters.are_finite(model.network):
        raise InvalidArgument(
            "model", model.name, "has weights that are no finite numbers", "load another"
        )
    _, leaf = stored_parameters.named(model.network)[0]
    lies = leaf.get_value().sharding.device_set
    if mesh is None and len(lies) > 1:
        raise InvalidArgument(
            "mesh", mesh, f"is missing: the model lies on {len(lies)} devices", "pass its mesh"
        )
    if mesh is not None and (set(mesh.devices.flat) != lies or mesh.axis_names != AXES):
        raise InvalidArgument(
            "mesh", mesh, "is not the one that the model was loaded on", "load(..., mesh=mesh)"
        )


def check_batch(tuning: FineTuning, mesh: jax.sharding.Mesh | None) -> None:
    """A part of a batch is shared out among the processes, and among the shards of the data."""
    shards = jax.process_count() if mesh is None else mesh.shape[AXES[0]]
    if (tuning.batch // tuning.accumulate) % shards:
        raise InvalidArgument(
            "batch",
            tuning.batch,
            f"in {tuning.accumulate} parts cannot be shared out among {shards} shards",
            "pass a multiple of accumulate times the shards",
        )
