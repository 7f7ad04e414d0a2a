"""Checks of the arguments of `fine_tune`, made before anything is compiled, written or drawn."""

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
from apo_sim.llm.data.preference_pairs import Pairing, scale_of
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
    """ExPO's weight as a float: finite and at least 0."""
    check_single(name, value, NON_NEGATIVE.remedy)
    NON_NEGATIVE.check(name, value)
    return float(value)


def as_pairing(name: str, value: Any) -> Pairing:
    """A pairing whose scale, if it has one, can be used."""
    kind = instance_of(Pairing, "is not a pairing", "pass one, such as TopAgainstBottom()")
    scale_of(kind(name, value))
    return value


KINDS: dict[str, Kind] = {
    "model": instance_of(Model, "is not a model", "pass what apo_sim.llm.load returns"),
    "ranker": optional(
        instance_of(ResponseRanker, "is not a ranker", "pass an instance such as Verifiable()")
    ),
    "iterations": as_count,
    "sampling": instance_of(Sampling, "is not a Sampling", "pass Sampling(...)"),
    "pairing": as_pairing,
    "tuning": instance_of(FineTuning, "is not a FineTuning", "pass FineTuning(...)"),
    "lora": optional(instance_of(LoRA, "is not a LoRA", "pass LoRA(rank=16), or None")),
    "source": optional(
        instance_of(Source, "is not a source", "pass an object with a method `pairs`, or None")
    ),
    "seed": as_seed,
    "mesh": optional(
        instance_of(jax.sharding.Mesh, "is not a mesh", "pass an apo_sim.llm.mesh(), or None")
    ),
    "expo": as_expo,
    "judge_every": as_flag,
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
    # As given: only the step rounds them to its own precision.
    return [float(value) for value in np.broadcast_to(np.asarray(beta, float), iterations)]


def as_method(loss: Any, momentum: Any, geometry: Any, iterations: int) -> Objective:
    """The objective of a step, once loss, geometry, rule and the length of a schedule are checked.

    The checks are those of `run`, but losses of labelled responses are accepted too.
    """
    found = as_objective(loss, geometry)
    check_momentum(momentum, iterations)
    return found


def check_source(source: Any, sampling: Sampling, **given: Any) -> None:
    """Require what draws pairs without a source, and nothing that a source would leave unused."""
    if source is None:
        if given["ranker"] is None:
            raise InvalidArgument("ranker", None, "is missing", "pass one, such as Verifiable()")
        if sampling.responses < 2:
            raise InvalidArgument(
                "sampling.responses", sampling.responses, "makes no pairs", "pass at least 2"
            )
        return
    for name, value in given.items():
        if value is not None:
            raise InvalidArgument(
                name, value, "would not be used: the pairs come from `source`", "leave it out"
            )


def check_model(model: Model, mesh: jax.sharding.Mesh | None) -> None:
    """Refuse weights that are not finite, or that are not on the devices of the mesh."""
    if not stored_parameters.are_finite(model.network):
        raise InvalidArgument(
            "model", model.name, "has weights that are not finite", "load another"
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
    """Refuse a batch whose parts cannot be split evenly among processes or data shards."""
    shards = jax.process_count() if mesh is None else mesh.shape[AXES[0]]
    if (tuning.batch // tuning.accumulate) % shards:
        raise InvalidArgument(
            "batch",
            tuning.batch,
            f"in {tuning.accumulate} parts cannot be split evenly among {shards} shards",
            "pass a multiple of accumulate times the number of shards",
        )
