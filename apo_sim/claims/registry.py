"""The list of claims: how one is declared, found by its id, and checked."""

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax

from apo_sim.claims.verdict import SOURCES, ClaimError, Finding, Study, Verdict, plain
from apo_sim.errors import InvalidArgument, UnknownName

Check = Callable[[Study], Finding]

_modules: dict[str, str] = {}
_claims: dict[str, "Claim"] = {}


@dataclass(frozen=True)
class Claim:
    """A statement and the check that judges it.

    Attributes:
        id: short name, such as `"N2"`.
        title: a few words.
        source: who says it: `"paper"`, `"reviews"` or `"ours"`.
        statement: the claim in words and LaTeX, between dollars.
        control: what the negative control makes wrong.
        errata: what is wrong in the paper, if anything, in words and LaTeX.
        check: from a `Study` to a `Finding`.
    """

    id: str
    title: str
    source: str
    statement: str
    control: str
    errata: str | None
    check: Check


def claim(
    *,
    id: str,
    title: str,
    source: str,
    statement: str,
    control: str,
    errata: str | None = None,
) -> Callable[[Check], Check]:
    r"""Declare the function below as the check of a claim; it is returned as it is.

    The function is run twice: with `study.wrong` False for the verdict, and with `study.wrong`
    True for the negative control, where it must make one thing wrong and find `"fails"`.

    Raises:
        UnknownName: for a source other than `"paper"`, `"reviews"`, `"ours"`.
        InvalidArgument: if another function has the id already.

    Example:
        >>> from apo_sim.claims import check, judge
        >>> @claim(
        ...     id="square",
        ...     title="Squares are not negative",
        ...     source="ours",
        ...     statement=r"$x^2 \ge 0$ for every real $x$.",
        ...     control="the sign of the square",
        ... )
        ... def square(study):
        ...     x = study.rng().normal(size=study.pick(quick=100, full=10_000))
        ...     lower = x**2 if study.wrong else -(x**2)
        ...     return judge.upper_bound(lower, 0.0)
        >>> verdict = check("square")
        >>> verdict.verdict, verdict.control["verdict"]
        ('holds', 'fails')
        >>> forget("square")
    """
    if source not in SOURCES:
        raise UnknownName("source", source, SOURCES)

    def declare(function: Check) -> Check:
        other = _claims.get(id)
        if other is not None and _place(other.check) != _place(function):
            raise InvalidArgument(
                "id", id, f"is taken by {'.'.join(_place(other.check))}", "choose another id"
            )
        _claims[id] = Claim(id, title, source, statement, control, errata, function)
        return function

    return declare


def catalogue(modules: Mapping[str, str]) -> None:
    """Say which module declares which claim; it is imported when the claim is first used."""
    _modules.update(modules)


def forget(id: str) -> None:
    """Take a declared claim out of the registry again."""
    _claims.pop(id, None)


def names() -> list[str]:
    """The ids of all claims: the package's own in the order of the paper, then the user's.

    Example:
        >>> "LD.2" in names()
        True
    """
    return list(dict.fromkeys([*_modules, *_claims]))


def module(id: str) -> str:
    """The module that declares a claim, found without importing it.

    Raises:
        UnknownName: if there is no such claim; the message offers the nearest.

    Example:
        >>> module("LD.2")
        'apo_sim.claims.ld2'
    """
    if id in _claims:
        return _claims[id].check.__module__
    if id not in _modules:
        raise UnknownName("claim", id, names())
    return _modules[id]


def describe(id: str) -> Claim:
    """The claim of that id.

    Raises:
        UnknownName: if there is none; the message offers the nearest.

    Example:
        >>> describe("LD.2").source
        'paper'
    """
    place = module(id)
    if id not in _claims:
        importlib.import_module(place)
    if id not in _claims:
        raise ClaimError(f"claim {id}: {place} does not declare it")
    return _claims[id]


def check(id: str, effort: str = "quick", seed: int = 0) -> Verdict:
    """Check a claim and its negative control.

    Both run in float64, whatever JAX is set to outside.

    Args:
        id: the claim, such as `"N2"`.
        effort: `"quick"` (seconds) or `"full"` (minutes).
        seed: all randomness is folded from it and from the id.

    Returns:
        The verdict; `verdict.sound` says whether the negative control failed as it must.

    Raises:
        UnknownName: for an unknown claim or effort; the message offers the nearest.
        InvalidArgument: for a seed that is not an integer in [0, 2**32).
        ClaimError: if the check gives something else than a finding of finite numbers.

    Example:
        >>> verdict = check("LD.2")
        >>> verdict.verdict, verdict.control["verdict"]
        ('holds', 'fails')
    """
    claim = describe(id)
    study = Study(id, effort, seed)
    started = time.perf_counter()
    with jax.enable_x64(True):
        finding = _find(claim, study)
        control = _find(claim, dataclasses.replace(study, wrong=True))
    seconds = time.perf_counter() - started
    figures = {f.name: getattr(finding, f.name) for f in dataclasses.fields(finding)}
    draw = figures.pop("draw")
    figures = plain(figures, id)
    if figures["interval"] is not None:
        figures["interval"] = tuple(figures["interval"])
    return Verdict(
        id=id,
        title=claim.title,
        source=claim.source,
        statement=claim.statement,
        control={"what": claim.control, "verdict": control.verdict},
        seconds=round(seconds, 3),
        figure=None,
        draw=draw,
        **figures,
    )


def broken(id: str, reason: str) -> Verdict:
    """The entry of a claim whose check could not be run to its end."""
    try:
        claim = describe(id)
        title, source = claim.title, claim.source
        statement, control = claim.statement, claim.control
    except Exception:  # the module itself may be what is broken
        title, source, statement, control = id, "", "", ""
    return Verdict(
        id=id,
        title=title,
        source=source,
        statement=statement,
        verdict=None,
        measured=None,
        bound=None,
        ratio=None,
        interval=None,
        unit="",
        instances=0,
        counterexample=None,
        control={"what": control, "verdict": None},
        seconds=0.0,
        figure=None,
        note=reason,
    )


def _find(claim: Claim, study: Study) -> Finding:
    finding = claim.check(study)
    if not isinstance(finding, Finding):
        raise ClaimError(f"claim {claim.id}: returned a {type(finding).__name__}, not a Finding")
    fields = {f.name: getattr(finding, f.name) for f in dataclasses.fields(finding)}
    del fields["draw"]
    plain(fields, claim.id)
    return finding


def _place(function: Check) -> tuple[str, str]:
    return function.__module__, function.__qualname__
