"""Options of `apo-sim sweep`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from apo_sim.cli.options.option_kinds import Counts, Names, Numbers, listed


@dataclass(frozen=True)
class Sweep:
    """Run a grid of settings with many seeds and store the results as zarr.

    A setting with several values becomes an axis. Axes follow the order of the list below, or the
    order in the file. To resume a sweep that was interrupted, run the same command again.
    """

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder for the zarr store. Required here or in the file."""
    file: Annotated[Path | None, tyro.conf.arg(metavar="TOML", help_behavior_hint="")] = None
    """TOML file with the arguments of `apo_sim.sweep`; options on the command line override it."""
    family: Annotated[str | None, listed("Problem family", "FAMILIES", "uniform")] = None
    loss: Annotated[tuple[str, ...], listed("Loss", "LOSSES")] = ()
    momentum: Annotated[tuple[str, ...], listed("Momentum rule", "MOMENTA")] = ()
    ranker: Annotated[tuple[str, ...], listed("How pairs are drawn and labelled", "RANKERS")] = ()
    geometry: Annotated[tuple[str, ...], listed("Geometry of the proximal step", "GEOMETRIES")] = ()
    beta_schedule: Names = ()
    """constant, or matched: no momentum, but the betas that follow the same path as momentum."""
    draws: Names = ()
    """fresh, or shared: reuse the same random numbers in every iteration, as a control."""
    contexts: Counts = ()
    """Number of contexts."""
    arms: Counts = ()
    """Number of arms."""
    alpha: Numbers = ()
    """Extrapolation of the momentum rule, in [0, 1)."""
    samples: Numbers = ()
    """Number of preference pairs per iteration; omit it for exact preferences."""
    beta: Numbers = ()
    """Proximal weight."""
    iterations: Counts = ()
    """Number of iterations."""
    reward_bound: Numbers = ()
    """Bound on the learned rewards."""
    spread: Numbers = ()
    """Family parameter: size of the rewards."""
    gap: Numbers = ()
    """Family parameter: reward gap between the best arm and the second best."""
    p_star: Numbers = ()
    """Family parameter: probability that the reference gives the best arm."""
    exponent: Numbers = ()
    """Family parameter: exponent of the reference's power law."""
    dominance: Numbers = ()
    """Family parameter: how much better the dominant arm does than any other, whatever it faces."""
    win_rate: Numbers = ()
    """Family parameter: probability that rock beats scissors."""
    variables: Names = ()
    """Series to store, such as suboptimality, tv, gamma, optimisation or statistics."""
    seeds: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """Number of replicates of every cell. Required here or in the file."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 0)")] = (
        None
    )
    """Random seed."""
    chunk: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 4096)")
    ] = None
    """Number of runs to compute and store at a time."""
    cluster: Annotated[
        str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="(default: this process)")
    ] = None
    """Address of the Dask scheduler to send the work to."""
