"""Which protocol of the ring task gives the reported row of the standard method?

The search looks at nothing but the standard method. What extrapolation then does under the protocol
found is a prediction, made by another study with other seeds.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from apo_sim.configuration import environment
from apo_sim.files import alone_in, cannot_write, writable_folder, write_text
from apo_sim.interruption import interruptible
from apo_sim.progress import bar
from apo_sim.studies.caption import caption
from apo_sim.studies.ring_protocol import (
    BETA,
    ITERATIONS,
    REPORTED,
    SEGMENT,
    TRACED,
    Protocol,
    segments,
    setup,
)
from apo_sim.sweep import trainings

STANDARD = np.array(REPORTED["standard"])
# What the description leaves open. Every combination is tried, and for each some of the numbers.
CHOICES: dict[str, Sequence[Any]] = {
    "policy": ("lattice", "gaussian"),
    "optimizer": ("adamw", "rmsprop", "sgd"),
    "steps": (1, 5),
    "samples": (256, 1024, None),
    "activation": ("relu", "tanh"),
    "keep_state": (True, False),
}
RADII = (0.3, 0.4, 0.5, 0.6, 0.7)
DECAYS = (0.1, 0.2, 0.3, 0.5, 0.7)
# Where the learning rate is drawn from, log-uniformly: one that moves the policy, none that jumps.
RATES = {
    ("lattice", "adamw"): (3e-4, 3e-2),
    ("lattice", "rmsprop"): (3e-4, 3e-2),
    ("lattice", "sgd"): (3e-2, 3.0),
    ("gaussian", "adamw"): (3e-5, 1e-2),
    ("gaussian", "rmsprop"): (3e-5, 1e-2),
    ("gaussian", "sgd"): (1e-3, 0.3),
}
# So many of the best are tried again: with numbers near theirs, then with new seeds.
FINALISTS = 6
NEARBY = 1.25
STAGES = ("drawn", "near the best", "again")
FILE = "trials.jsonl"
FARTHEST = 300.0  # factor at which the figure ends

# The trials of every batch, by its stage and number.
Found = dict[tuple[str, int], list[dict[str, Any]]]


@dataclass(frozen=True)
class Batch:
    """Trials that one compiled program runs: one choice of everything but `TRACED`."""

    stage: str
    number: int
    protocols: tuple[Protocol, ...]


def distance(row: np.ndarray) -> np.ndarray:
    """How far a row is from the reported one: the largest |log ratio|, over the last axis.

    Example:
        >>> round(float(distance(2.0 * STANDARD)), 4)  # log 2
        0.6931
    """
    return np.asarray(np.max(np.abs(np.log(row / STANDARD)), axis=-1))


def measure(
    *,
    seeds: int,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
    batches: int | None = None,
    draws: int = 8,
) -> xr.Dataset:
    """Every trial: its protocol, its row (trial, segment), its distance from the reported row.

    Three stages: every combination of `CHOICES` (or so many `batches` of them) with `draws` random
    learning rates, radii and decays and two seeds each; numbers near those of the best, again two
    seeds; the best once more with `seeds` new seeds, among which the nearest is chosen. With `out`
    each batch is a line of a log, and a search that was stopped goes on.
    """
    log = None if out is None else writable_folder("out", out) / FILE
    settings = {"seed": seed, "seeds": seeds, "batches": batches, "draws": draws}
    settings |= environment()
    chosen = combinations(seed)[:batches]
    alone = contextlib.nullcontext() if log is None else alone_in("out", log.parent)
    with alone, interruptible() as look:
        found = _read(log, settings)
        with bar("batches", len(chosen) + 2 * FINALISTS, len(found), progress) as advance:
            for stage in STAGES:
                for batch in _planned(stage, found, chosen, draws, seed):
                    if (stage, batch.number) not in found:
                        lines = _run(batch, seeds if stage == "again" else 2, seed)
                        found[stage, batch.number] = lines
                        _append(log, {"settings": settings, "trials": lines})
                        advance(1)
                        look()
    return _dataset([line for lines in found.values() for line in lines])


def combinations(seed: int) -> list[dict[str, Any]]:
    """Every combination of `CHOICES` that makes a difference, in random order.

    Example:
        >>> len(combinations(0))  # the state of plain SGD is empty, kept or not
        120
    """
    every = [
        dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())
    ]
    distinct = [c for c in every if c["optimizer"] != "sgd" or c["keep_state"]]
    return [distinct[i] for i in np.random.default_rng(seed).permutation(len(distinct))]


def tried_again(data: xr.Dataset) -> xr.Dataset:
    """The trials of the last stage, the nearest first."""
    return data.isel(trial=np.flatnonzero((data.stage == STAGES[-1]).values)).sortby("distance")


def nearest_protocol(data: xr.Dataset) -> Protocol:
    """The one among those tried again whose standard row is nearest to the reported one."""
    again = tried_again(data)
    return _protocol(again, 0)


def table(data: xr.Dataset) -> pd.DataFrame:
    """A row a trial, the nearest first: what was chosen and what came of it."""
    rows = data.row.to_pandas().round(4)
    rows.columns = [f"segment_{1 + number}" for number in rows.columns]
    chosen = data.drop_vars("row").to_dataframe()
    chosen["factor"] = np.exp(chosen.pop("distance")).round(3)
    return chosen.join(rows).sort_values("factor")


@dataclass(frozen=True)
class RingSearchFinding:
    """How near the search came to the reported row.

    Attributes:
        trials: how many there were.
        near: of them, within a factor 1.5 in all segments.
        diverged: those that did.
        protocol: the nearest of those tried again.
        factor: within which its row is of the reported one, in all segments.
        seeds: that it was tried again with.
        row: its average regret in every segment.
    """

    trials: int
    near: int
    diverged: int
    protocol: Protocol
    factor: float
    seeds: int
    row: list[float]

    @property
    def text(self) -> str:
        """All of it in words."""
        row = ", ".join(f"{value:.4f}" for value in self.row)
        settings = dataclasses.asdict(self.protocol)
        return (
            f"Of {self.trials} trials {self.near} come within a factor 1.5 of the reported "
            f"standard row in all segments, and {self.diverged} diverge. The nearest of those "
            f"tried again, within a factor {self.factor:.2f} ({self.seeds} seeds): {row}; "
            f"{', '.join(f'{name} = {value}' for name, value in settings.items())}."
        )


def finding(data: xr.Dataset) -> RingSearchFinding:
    """How many trials came how near, and the nearest protocol."""
    best = tried_again(data).isel(trial=0)
    return RingSearchFinding(
        trials=data.sizes["trial"],
        near=int((data.distance < np.log(1.5)).sum()),
        diverged=int((data.diverged > 0).sum()),
        protocol=nearest_protocol(data),
        factor=float(np.exp(best.distance)),
        seeds=int(best.seeds),
        row=best.row.values.tolist(),
    )


def draw(figure: Figure, data: xr.Dataset) -> None:
    """How near every trial came over its learning rate, and the rows of the nearest."""
    caption(
        figure,
        "Factor: the largest of the five segments, "
        f"{FARTHEST:g} and more at the top. Rows: means over the seeds.",
    )
    left, right = figure.subplots(1, 2)
    kinds = [("lattice", o) for o in CHOICES["optimizer"]] + [("gaussian", None)]
    colours = ("C0", "C2", "C4", "0.6")
    for (policy, optimizer), colour in zip(kinds, colours, strict=True):
        mine = (data.policy == policy) & (data.optimizer == optimizer if optimizer else True)
        here = data.isel(trial=np.flatnonzero((mine & (data.diverged == 0)).values))
        label = f"{policy}, {optimizer}" if optimizer else "gaussian, any"
        factor = np.minimum(np.exp(here.distance), FARTHEST)
        left.plot(here.learning_rate, factor, ".", color=colour, label=label)
    left.axhline(1.5, color="C1", lw=1, label="a factor 1.5")
    left.set(xscale="log", yscale="log", xlabel="learning rate", ylim=(1, 1.2 * FARTHEST))
    left.set(ylabel="factor from the reported row", title="every trial that did not diverge")
    figure.legend(loc="outside lower center", ncols=5, fontsize=7.5)
    again = tried_again(data)
    x = np.arange(1, STANDARD.size + 1)
    for trial in range(again.sizes["trial"]):
        right.semilogy(x, again.row[trial], color="C0", alpha=0.35, lw=1)
    best = again.isel(trial=0)
    right.plot([], [], color="C0", alpha=0.35, lw=1, label="others tried again")
    right.semilogy(x, best.row, "o-", color="C0", label="nearest protocol")
    right.semilogy(x, STANDARD, "s--", color="C1", label="reported")
    right.set(xlabel=f"segment of {SEGMENT} iterations", title="standard method, the best again")
    right.set(ylabel="average regret", xticks=x)
    right.legend()


def _planned(
    stage: str, found: Found, chosen: list[dict[str, Any]], draws: int, seed: int
) -> Iterator[Batch]:
    """The batches of a stage, which for the later ones depend on what was found before."""
    if stage == STAGES[0]:
        for number, fixed in enumerate(chosen):
            rng = np.random.default_rng([seed, number])
            yield Batch(stage, number, _drawn(fixed, rng, draws))
        return
    earlier = [line for (name, _), lines in found.items() if name != STAGES[2] for line in lines]
    if stage == STAGES[1]:
        earlier = [line for line in earlier if line["stage"] == STAGES[0]]
    ranked = sorted(earlier, key=lambda line: line["distance"])[:FINALISTS]
    for number, line in enumerate(ranked):
        protocol = Protocol(**line["protocol"])
        if stage == STAGES[1]:
            rng = np.random.default_rng([seed, len(STAGES), number])
            yield Batch(stage, number, tuple(_near(protocol, rng) for _ in range(draws)))
        else:
            yield Batch(stage, number, (protocol,))


def _drawn(fixed: dict[str, Any], rng: np.random.Generator, draws: int) -> tuple[Protocol, ...]:
    low, high = np.log(RATES[fixed["policy"], fixed["optimizer"]])
    return tuple(
        Protocol(
            **fixed,
            radius=float(rng.choice(RADII)),
            decay=float(rng.choice(DECAYS)),
            learning_rate=_rounded(np.exp(rng.uniform(low, high))),
        )
        for _ in range(draws)
    )


def _near(protocol: Protocol, rng: np.random.Generator) -> Protocol:
    factors = np.exp(rng.uniform(-1, 1, len(TRACED)) * np.log(NEARBY))
    changed = {
        name: _rounded(getattr(protocol, name) * factor)
        for name, factor in zip(TRACED, factors, strict=True)
    }
    return dataclasses.replace(protocol, **changed)


def _rounded(value: float) -> float:
    """Two digits: more would pretend to a precision that the reported row does not carry."""
    return float(f"{value:.2g}")


def _run(batch: Batch, seeds: int, seed: int) -> list[dict[str, Any]]:
    # New seeds for those tried again, or the luck of the first trial would be counted twice.
    first = 1000 * STAGES.index(batch.stage)
    count = len(batch.protocols)
    lanes: dict[str, np.ndarray] = {
        name: np.repeat([getattr(p, name) for p in batch.protocols], seeds) for name in TRACED
    }
    lanes["replicate"] = np.tile(first + np.arange(seeds), count)
    lanes["alpha"] = np.zeros(count * seeds)
    lanes["beta"] = np.full(count * seeds, BETA)
    found = trainings(
        setup(batch.protocols[0], seed),
        lanes,
        iterations=ITERATIONS,
        block=ITERATIONS,
        progress=False,
        diverging="report",
    )
    rows = segments(found["behaviour_suboptimality"].astype(float))
    rows = rows.reshape(count, seeds, -1).mean(axis=1)
    diverged = found["diverged"].reshape(count, seeds).max(axis=1)
    return [
        {
            "stage": batch.stage,
            "number": batch.number,
            "seeds": seeds,
            "diverged": int(diverged[i]),
            "distance": float(distance(rows[i])) if not diverged[i] else float("inf"),
            "row": rows[i].tolist(),
            "protocol": dataclasses.asdict(protocol),
        }
        for i, protocol in enumerate(batch.protocols)
    ]


def _read(log: Path | None, settings: dict[str, Any]) -> Found:
    found: Found = {}
    for text in [] if log is None else _text(log).splitlines():
        with contextlib.suppress(
            ValueError, TypeError, KeyError, AttributeError
        ):  # not as it was written
            entry = json.loads(text)
            if entry.pop("sum") == _sum(entry) and entry["settings"] == settings:
                first = entry["trials"][0]
                found[first["stage"], first["number"]] = entry["trials"]
    return found


def _append(log: Path | None, entry: dict[str, Any]) -> None:
    if log is None:
        return
    line = json.dumps({**entry, "sum": _sum(entry)})
    try:
        write_text(log, "".join(f"{text}\n" for text in [*_text(log).splitlines(), line]))
    except OSError as error:
        raise cannot_write("out", log, error) from None


def _text(log: Path) -> str:
    return log.read_bytes().decode(errors="replace") if log.exists() else ""


def _sum(entry: dict[str, Any]) -> str:
    """Of a line of the log, so that a changed one is found and computed again."""
    return hashlib.sha256(json.dumps(entry).encode()).hexdigest()[:16]


def _dataset(lines: list[dict[str, Any]]) -> xr.Dataset:
    columns: dict[str, Any] = {
        name: ("trial", [line[name] for line in lines])
        for name in ("stage", "seeds", "diverged", "distance")
    }
    for field in dataclasses.fields(Protocol):
        values = [line["protocol"][field.name] for line in lines]
        if field.name == "samples":
            values = [0 if value is None else value for value in values]
        columns[field.name] = ("trial", values)
    columns["row"] = (("trial", "segment"), [line["row"] for line in lines])
    data = xr.Dataset(columns)
    data.samples.attrs["long_name"] = "preference pairs an iteration, 0 for exact preferences"
    return data


def _protocol(data: xr.Dataset, trial: int) -> Protocol:
    here = data.isel(trial=trial)
    fields = {field.name: here[field.name].values.item() for field in dataclasses.fields(Protocol)}
    return Protocol(**{**fields, "samples": fields["samples"] or None})
