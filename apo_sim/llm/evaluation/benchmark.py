"""Benchmarks: prompts, marks of the responses to them, and what two policies' scores differ by."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from apo_sim import files
from apo_sim.checks import as_count, as_seed, as_text
from apo_sim.errors import InvalidArgument
from apo_sim.estimate import Estimate
from apo_sim.llm.data.prompts import Prompt
from apo_sim.llm.data.responses import Sampler, Sampling
from apo_sim.llm.models.loading import Model
from apo_sim.progress import bar
from apo_sim.self_checking import checks_itself
from apo_sim.statistics import clopper_pearson, crossed

Marks = dict[str, float]


@runtime_checkable
class Benchmark(Protocol):
    """Prompts, and a program that marks responses to them."""

    @property
    def name(self) -> str:
        """What tells it from other benchmarks, its size and seed included."""
        ...

    @property
    def prompts(self) -> Sequence[Prompt]:
        """What responses are asked for."""
        ...

    def marks(self, number: int, response: str) -> Marks:
        """Mark a response to prompt `number`: the same metrics for every prompt, each in [0, 1]."""
        ...


@dataclass(frozen=True)
class Row:
    """A metric, and its estimate with a 95 % interval.

    Attributes:
        metric: its name.
        estimate: the mean over prompts and seeds.
    """

    metric: str
    estimate: Estimate


@dataclass(frozen=True)
class Scores:
    """What one policy, or one a training seed, reaches on a benchmark.

    Attributes:
        benchmark: its name.
        metrics: from a metric to the marks, each of shape (seeds, prompts).

    Example:
        >>> scores = Scores("one", {"correct": np.array([[1.0, 0.0, 1.0, 1.0]])})
        >>> [f"{row.metric} {row.estimate:.2f}" for row in scores.rows()]
        ['correct 0.75 [0.19, 0.99]']
    """

    benchmark: str
    metrics: dict[str, Float[np.ndarray, "seeds prompts"]]

    def rows(self) -> list[Row]:
        """One row for each metric, its interval over prompts and seeds."""
        return [Row(metric, _level(marks)) for metric, marks in self.metrics.items()]

    def less(self, other: "Scores") -> list[Row]:
        """How much higher these scores are than another policy's, paired by prompt and seed.

        Args:
            other: scores on the same benchmark with the same seeds.

        Raises:
            InvalidArgument: scores on another benchmark, or with other seeds.

        Example:
            >>> better = Scores("one", {"correct": np.array([[1.0, 1.0, 1.0, 0.0]])})
            >>> worse = Scores("one", {"correct": np.array([[0.0, 1.0, 0.0, 0.0]])})
            >>> f"{better.less(worse)[0].estimate:.2f}"
            '0.50 [-0.42, 1.00]'
        """
        if self.benchmark != other.benchmark:
            raise InvalidArgument(
                "other", other.benchmark, f"is not {self.benchmark}", "compare on one benchmark"
            )
        shapes = [{n: m.shape for n, m in each.metrics.items()} for each in (self, other)]
        if shapes[0] != shapes[1]:
            raise InvalidArgument(
                "other", shapes[1], f"does not pair with {shapes[0]}", "pass the same seeds"
            )
        return [
            Row(metric, _difference(marks - other.metrics[metric]))
            for metric, marks in self.metrics.items()
        ]

    def write(self, path: str | Path) -> None:
        """Write the scores as JSON, whole or not at all.

        Raises:
            InvalidArgument: a path that cannot be written.
        """
        marks = {metric: found.tolist() for metric, found in self.metrics.items()}
        found = {"benchmark": self.benchmark, "metrics": marks}
        place = files.as_path("path", path)
        try:
            files.write_text(place, json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise files.cannot_write("path", place, error) from error

    @classmethod
    def read(cls, path: str | Path) -> "Scores":
        """Read what `write` wrote.

        Raises:
            InvalidArgument: a file that is missing, or holds no scores.
        """
        text = files.read_text("path", path)
        try:
            found = json.loads(text)
            metrics = {
                as_text("metric", metric): np.array(marks, float)
                for metric, marks in found["metrics"].items()
            }
            (shape,) = {marks.shape for marks in metrics.values()}
            within = all(np.all((marks >= 0.0) & (marks <= 1.0)) for marks in metrics.values())
            if len(shape) != 2 or 0 in shape or not within:
                raise ValueError
            return cls(as_text("benchmark", found["benchmark"]), metrics)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidArgument(
                "path", str(path), "holds no scores", "pass a file that Scores.write wrote"
            ) from error


@checks_itself
def evaluate(
    model: Model,
    benchmark: Benchmark,
    sampling: Sampling = Sampling(responses=1),
    *,
    seeds: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> Scores:
    """Let a model answer a benchmark.

    Args:
        model: as it stands.
        benchmark: see `apo_sim.llm.evaluation`.
        sampling: how to draw; `responses` is of no account, each seed draws one.
        seeds: how often every prompt is answered. Policies that are compared with the same `seed`
            share their random numbers.
        seed: all randomness comes from it.
        progress: whether to show a bar.

    Returns:
        Marks of every response.

    Raises:
        InvalidArgument: a prompt longer than `sampling.max_prompt`; marks outside of [0, 1], or
            of other metrics than those of the first response.

    Source: ours.

    Example:
        >>> from apo_sim.llm.models import tiny
        >>> class Ends:
        ...     name, prompts = "ends", [Prompt("red blue")]
        ...
        ...     def marks(self, number, response):
        ...         return {"short": float(len(response) < 100)}
        >>> sampling = Sampling(max_tokens=4, max_prompt=8, batch=2)
        >>> evaluate(tiny.model(), Ends(), sampling, progress=False).metrics
        {'short': array([[1.]])}
    """
    if not isinstance(benchmark, Benchmark):
        raise InvalidArgument(
            "benchmark",
            benchmark,
            "lacks name, prompts or marks",
            "pass an object with these, as Benchmark describes",
        )
    asked = [prompt.text for prompt in benchmark.prompts]
    sampler, seed = Sampler(model, sampling), as_seed("seed", seed)
    with bar("responses", as_count("seeds", seeds) * len(asked), 0, progress) as tick:
        drawn = [sampler.draw_all(asked, seed, number, tick=tick) for number in range(seeds)]
    answered = [[response.text for response in responses] for responses in drawn]
    return Scores(benchmark.name, marked(benchmark, answered))


def marked(
    benchmark: Benchmark, answered: Sequence[Sequence[str]]
) -> dict[str, Float[np.ndarray, "seeds prompts"]]:
    """Mark responses that are there already.

    Args:
        benchmark: whose prompts they answer.
        answered: for each seed, one response to every prompt.

    Raises:
        InvalidArgument: too few responses; marks outside of [0, 1], or of other metrics.
    """
    number, names = len(benchmark.prompts), None
    metrics: dict[str, list[list[float]]] = {}
    for texts in answered:
        if len(texts) != number:
            raise InvalidArgument(
                "answered",
                f"{len(texts)} responses",
                f"are not {number}",
                "pass one response per prompt",
            )
        rows = [_checked(benchmark.marks(place, text)) for place, text in enumerate(texts)]
        names = list(rows[0]) if names is None else names
        for row in rows:
            if list(row) != names:
                raise InvalidArgument(
                    "marks",
                    row,
                    f"have other metrics than {names}",
                    "return the same metrics for all prompts",
                )
        for name in names:
            metrics.setdefault(name, []).append([row[name] for row in rows])
    return {name: np.array(marks) for name, marks in metrics.items()}


def _level(marks: np.ndarray) -> Estimate:
    """A mean of numbers in [0, 1]: exact where each prompt is answered once, or all are alike."""
    if len(marks) > 1 and np.ptp(marks) > 0:
        found = crossed(marks)
        low, high = max(found.low, 0.0), min(found.high, 1.0)
    else:
        low, high = clopper_pearson(float(marks.mean(axis=0).sum()), marks.shape[1])
    return Estimate(float(marks.mean()), low, high, "share", marks.size)


def _difference(marks: np.ndarray) -> Estimate:
    """A mean of numbers in [-1, 1]; where all are alike, as many prompts could still differ."""
    mean = float(marks.mean())
    if np.ptp(marks) > 0:
        found = crossed(marks)
        low, high = found.low, found.high
    else:
        _, most = clopper_pearson(0, marks.shape[1])
        low, high = mean - most, mean + most
    return Estimate(mean, max(low, -1.0), min(high, 1.0), "share", marks.size)


def _checked(marks: Any) -> Marks:
    try:
        found = {str(name): float(mark) for name, mark in marks.items()}
    except (AttributeError, TypeError, ValueError):
        found = {}
    if not found or not all(0.0 <= mark <= 1.0 for mark in found.values()):
        raise InvalidArgument(
            "marks",
            marks,
            "are not numbers in [0, 1] by metric",
            "return a mapping such as {'correct': 1.0}",
        )
    return found
