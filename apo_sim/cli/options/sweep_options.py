"""Options of `apo-sim sweep`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import Counts, Names, Numbers, listed


@dataclass(frozen=True)
class Sweep:
    """Run a grid of settings with many seeds and keep the series in a zarr store.

    Several values of a setting make it an axis; axes come in the order of the list below, or in
    that of the file. A sweep that was stopped goes on when the same command is given again.
    """

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of the store. Needed, here or in the file."""
    file: Annotated[Path | None, tyro.conf.arg(metavar="TOML", help_behavior_hint="")] = None
    """TOML file with the arguments of `apo_sim.sweep`; flags override it."""
    family: Annotated[str | None, listed("Problem family", "FAMILIES", "uniform")] = None
    loss: Annotated[tuple[str, ...], listed("What a step fits", "LOSSES")] = ()
    momentum: Annotated[tuple[str, ...], listed("Rule of alpha", "MOMENTA")] = ()
    ranker: Annotated[tuple[str, ...], listed("How a pair comes about", "RANKERS")] = ()
    geometry: Annotated[tuple[str, ...], listed("Of the proximal step", "GEOMETRIES")] = ()
    beta_schedule: Names = ()
    """constant, or matched: no momentum, and the betas that take its path."""
    draws: Names = ()
    """fresh, or shared: the same random numbers in every iteration, a control."""
    contexts: Counts = ()
    """Number of contexts."""
    arms: Counts = ()
    """Number of arms."""
    alpha: Numbers = ()
    """Extrapolation."""
    samples: Numbers = ()
    """Preference pairs an iteration; left out: exact preferences."""
    beta: Numbers = ()
    """Proximal weight."""
    iterations: Counts = ()
    """Iterations of a run."""
    reward_bound: Numbers = ()
    """Bound on the learned rewards."""
    spread: Numbers = ()
    """Of the family: size of the rewards."""
    gap: Numbers = ()
    """Of the family: lead of the best arm."""
    p_star: Numbers = ()
    """Of the family: reference mass of the best arm."""
    exponent: Numbers = ()
    """Of the family: steepness of the reference."""
    dominance: Numbers = ()
    """Of the family: margin of the arm that beats all others."""
    win_rate: Numbers = ()
    """Of the family: rock against scissors."""
    variables: Names = ()
    """Series to keep, such as suboptimality, tv, gamma, optimisation, statistics."""
    seeds: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """Replicates of every cell. Needed, here or in the file."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 0)")] = (
        None
    )
    """All randomness is folded from it."""
    chunk: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 4096)")
    ] = None
    """Runs that are computed and stored as one."""
    cluster: Annotated[
        str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="(default: this process)")
    ] = None
    """Dask scheduler that shares out the work."""
