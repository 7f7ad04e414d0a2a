"""The verdicts of a run and where they come from: `claims.json`."""

import dataclasses
import datetime
import json
import os
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apo_sim.claims.registry import names
from apo_sim.claims.verdict import Study, Verdict
from apo_sim.files import write_text
from apo_sim.plain_kinds import is_listing, is_mapping
from apo_sim.version import __version__, versions

PACKAGES = ("jax", "optax", "numpy", "scipy", "matplotlib")


@dataclass(frozen=True)
class Ledger:
    """The verdicts of one run.

    Attributes:
        version: of apo_sim.
        created: when the run began, in UTC, ISO 8601.
        seed: what all randomness was folded from.
        effort: `"quick"` or `"full"`.
        environment: versions and machine.
        verdicts: one a claim, in the order of the registry.
        missing: ids of the claims that an interrupted run did not come to.
    """

    version: str
    created: str
    seed: int
    effort: str
    environment: dict[str, str]
    verdicts: tuple[Verdict, ...]
    missing: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether every check ran and every control came out as it must."""
        return not self.missing and all(verdict.sound for verdict in self.verdicts)

    @property
    def counts(self) -> Counter[str]:
        """How many claims have each verdict; those without one that counts are `"broken"`."""
        return Counter(str(v.verdict) if v.sound else "broken" for v in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """The content of `claims.json`; `"missing"` is there only after an interruption."""
        content: dict[str, Any] = {
            "version": self.version,
            "created": self.created,
            "seed": self.seed,
            "effort": self.effort,
            "environment": self.environment,
            "claims": [verdict.to_json() for verdict in self.verdicts],
        }
        if self.missing:
            content["missing"] = list(self.missing)
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Ledger":
        """The ledger of the content of a `claims.json`.

        Raises:
            ValueError, KeyError, TypeError: for the content of some other file.
        """
        environment, missing = content["environment"], content.get("missing", [])
        lists = is_listing(content["claims"]) and is_listing(missing)
        if not (lists and is_mapping(environment)):
            raise TypeError("a ledger lists its claims, and what they were checked on")
        texts = [content["version"], content["created"], *environment.values(), *missing]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a ledger is described in words")
        Study("", content["effort"], content["seed"])  # says what is wrong with either
        return cls(
            version=content["version"],
            created=content["created"],
            seed=content["seed"],
            effort=content["effort"],
            environment=dict(environment),
            verdicts=tuple(Verdict.from_json(entry) for entry in content["claims"]),
            missing=tuple(missing),
        )

    def with_verdicts(self, verdicts: Sequence[Verdict]) -> "Ledger":
        """This ledger of a run that has come to these verdicts, at whatever time."""
        missing = [id for id in self.missing if all(verdict.id != id for verdict in verdicts)]
        return dataclasses.replace(self, verdicts=_in_order(verdicts), missing=tuple(missing))

    def merged(self, earlier: "Ledger | None") -> "Ledger":
        """This ledger, with the earlier verdicts on claims that it does not have itself.

        Only those of the same version, seed and effort count: others are no part of this run.
        """
        if earlier is None or not self.continues(earlier):
            return self
        verdicts = {v.id: v for v in (*earlier.verdicts, *self.verdicts)}
        missing = {*earlier.missing, *self.missing} - set(verdicts)
        return dataclasses.replace(
            self, verdicts=_in_order(verdicts.values()), missing=_order(missing)
        )

    def of(self, id: str) -> Verdict | None:
        """The verdict on a claim, or None if there is none."""
        return next((verdict for verdict in self.verdicts if verdict.id == id), None)

    def without(self, id: str | None) -> "Ledger":
        """This ledger but for one claim, which it has not come to."""
        verdicts = tuple(verdict for verdict in self.verdicts if verdict.id != id)
        return dataclasses.replace(self, verdicts=verdicts)

    def continues(self, earlier: "Ledger") -> bool:
        """Whether both have the same version, seed and effort."""
        return all(
            getattr(self, name) == getattr(earlier, name) for name in ("version", "seed", "effort")
        )

    def write(self, path: Path) -> None:
        """Write `claims.json`, whole or not at all."""
        content = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(path, content + "\n")


def new_ledger(
    verdicts: Iterable[Verdict], *, seed: int, effort: str, missing: Iterable[str] = ()
) -> Ledger:
    """The ledger of a run that begins now on this machine, in the order of the registry."""
    return Ledger(
        version=__version__,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seed=seed,
        effort=effort,
        environment=surroundings(),
        verdicts=_in_order(verdicts),
        missing=_order(missing),
    )


def read_ledger(path: Path) -> Ledger | None:
    """The ledger in a `claims.json`, or None if there is none that a run can have written."""
    try:
        return Ledger.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def surroundings() -> dict[str, str]:
    """What a figure may depend on besides seed and version, as far as it is known without JAX.

    Example:
        >>> "numpy" in surroundings()
        True
    """
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
        **versions(*PACKAGES),
    }


def _in_order(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    by_id = {verdict.id: verdict for verdict in verdicts}
    return tuple(by_id[id] for id in _order(by_id))


def _order(ids: Iterable[str]) -> tuple[str, ...]:
    """Ids in the order of the registry, then those that it does not know."""
    ids, known = list(ids), names()
    return tuple(sorted(ids, key=lambda id: known.index(id) if id in known else len(known)))
