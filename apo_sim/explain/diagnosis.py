"""What can be wrong with a run, and what is said about it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from apo_sim.explain.course import Course, as_text


class Effect(enum.StrEnum):
    """What a log can show."""

    DIVERGED = "diverged"
    DEAD_LEARNING_RATE = "dead learning rate"
    LOST_UPDATES = "updates lost to the dtype"
    BETA_HARDLY_COUNTS = "beta hardly counts"
    SATURATED_LOSS = "saturated loss"
    DISPLACEMENT = "displacement"
    LENGTH_DRIFT = "length drift"
    ENTROPY_COLLAPSE = "entropy collapse"
    KL_EXPLOSION = "KL explosion"
    OVER_OPTIMISATION = "over-optimisation"


@dataclass(frozen=True)
class Diagnosis:
    """One thing that a log shows.

    Attributes:
        effect: its name.
        evidence: the figures that it was judged by.
        steps: first and last step at which it is seen.
        meaning: what happens, in one sentence.
        remedy: what to do, in one line.
        command: Python that shows the effect on a table in seconds; None where none does.
    """

    effect: Effect
    evidence: Mapping[str, float]
    steps: tuple[float, float]
    meaning: str
    remedy: str
    command: str | None

    def __str__(self) -> str:
        first, last = self.steps
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.evidence.items())
        return (
            f"{self.effect} (steps {first:g} to {last:g}): {self.meaning}\n"
            f"  seen: {figures}\n  remedy: {self.remedy}"
        )


@dataclass(frozen=True)
class Unjudged:
    """What could not be said.

    Attributes:
        effect: that the log may or may not show.
        why: in words.
    """

    effect: Effect
    why: str

    def __str__(self) -> str:
        return f"{self.effect}: {self.why}"


@dataclass(frozen=True)
class Explanation:
    """What a log shows.

    Attributes:
        source: the log.
        rows: how many it has.
        diagnoses: what is seen.
        unjudged: what could not be judged, and why.
        courses: every column at first and at last.
    """

    source: str
    rows: int
    diagnoses: tuple[Diagnosis, ...]
    unjudged: tuple[Unjudged, ...]
    courses: tuple[Course, ...]

    @property
    def effects(self) -> frozenset[Effect]:
        """Names of what is seen."""
        return frozenset(found.effect for found in self.diagnoses)

    def __str__(self) -> str:
        parts = [f"{self.source}, {self.rows} rows", as_text(self.courses)]
        parts += [str(found) for found in self.diagnoses] or [self.summary]
        if self.unjudged:
            listed = "".join(f"\n  {one}" for one in self.unjudged)
            parts.append(f"could not be judged:{listed}")
        commands = [
            f"to see {found.effect} on a table:\n\n{found.command}"
            for found in self.diagnoses
            if found.command is not None
        ]
        return "\n\n".join(parts + commands)

    @property
    def summary(self) -> str:
        """The names of what is seen, or of what was looked for and is not."""
        if self.diagnoses:
            return ", ".join(one.effect for one in self.diagnoses)
        open_still = {one.effect for one in self.unjudged}
        judged = [str(effect) for effect in Effect if effect not in open_still]
        if not judged:
            return "nothing can be judged"
        return f"nothing conspicuous; looked for: {', '.join(judged)}"
