"""The list of claims: how one is declared, found by its id, and checked."""

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import (
    POSITIVE,
    SOURCES,
    VARIANT_OF,
    ClaimError,
    Control,
    Finding,
    Study,
    Verdict,
    check_id,
    plain,
)
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.plain_kinds import as_text

Check = Callable[[Study], Finding]

_modules: dict[str, str] = {}
_claims: dict[str, "Claim"] = {}


@dataclass(frozen=True)
class Declaration:
    """What a claim says of itself: all but the check that judges it.

    Attributes:
        id: short name, such as `"N2"`.
        title: a few words.
        source: who says it: `"paper"`, `"reviews"` or `"ours"`.
        statement: the claim in words and LaTeX, between dollars.
        scope: the problems and settings it is made for, and its quantifier.
        control: what the negative control makes wrong.
        repair: the true statement in place of one that fails, if there is one.
        power: the effect that is planted to see whether an undecided check can decide.
        defect: what is at fault where several claims fail for one reason, in the same words.
        errata: what is wrong in the paper, if anything, in words and LaTeX.
    """

    id: str
    title: str
    source: str
    statement: str
    scope: Scope | None
    control: str
    repair: str | None
    power: str | None
    defect: str | None
    errata: str | None


@dataclass(frozen=True)
class Claim(Declaration):
    """A declaration and the check that judges it.

    Attributes:
        check: from a `Study` to a `Finding`.
    """

    check: Check


def claim(
    *,
    id: str,
    title: str,
    source: str,
    statement: str,
    control: str,
    scope: Scope | None = None,
    repair: str | None = None,
    power: str | None = None,
    defect: str | None = None,
    errata: str | None = None,
) -> Callable[[Check], Check]:
    r"""Declare the function below as the check of a claim; it is returned as it is.

    The function is run once for the verdict and once more for every control, which it tells from
    its `study`. With `study.wrong` it makes one thing wrong and must find `"fails"`. The positive
    controls are needed by some verdicts only. A claim that fails is run with `study.repaired`,
    where the repaired statement must be found to hold on the same path: otherwise a check that
    always says "fails" would look sound (the wrong thing is then done to the repaired statement,
    for the same reason). A claim that is undecided is run with `study.planted`, where an effect
    of stated size is put into the data and must be found to hold.

    Args:
        id: short name.
        title: a few words.
        source: `"paper"`, `"reviews"` or `"ours"`.
        statement: the claim in words and LaTeX, between dollars.
        control: what `study.wrong` makes wrong.
        scope: problems and settings it is made for, with its quantifier.
        repair: what `study.repaired` states in its place; needed by a claim that fails.
        power: what `study.planted` plants; needed by a claim that depends or is not reproduced.
        defect: what is at fault, in the same words for all claims that fail for one reason.
        errata: what is wrong in the paper.

    Raises:
        UnknownName: for a source other than `"paper"`, `"reviews"`, `"ours"`.
        InvalidArgument: if the id is no plain name, or if another function has it already.

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
    check_id(id)

    def declare(function: Check) -> Check:
        other = _claims.get(id)
        if other is not None and _place(other.check) != _place(function):
            raise InvalidArgument(
                "id", id, f"is taken by {'.'.join(_place(other.check))}", "choose another id"
            )
        _claims[id] = Claim(
            id, title, source, statement, scope, control, repair, power, defect, errata, function
        )
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
    as_text("claim", id)
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
    """Check a claim with its negative control, and with the positive one that its verdict needs.

    All run in float64, whatever JAX is set to outside.

    Args:
        id: the claim, such as `"N2"`.
        effort: `"quick"` (seconds) or `"full"` (minutes).
        seed: all randomness is folded from it and from the id.

    Returns:
        The verdict; `verdict.sound` says whether every control came out as it must.

    Raises:
        UnknownName: for an unknown claim or effort; the message offers the nearest.
        InvalidArgument: for a seed that is not an integer in [0, 2**32).
        ClaimError: if the check gives something else than a finding of finite numbers.

    Example:
        >>> verdict = check("LD.2")
        >>> verdict.verdict, verdict.control["verdict"]
        ('holds', 'fails')
    """
    import jax  # claims are declared, and listed, without it

    claim = describe(id)
    study = Study(id, effort, seed)
    started = time.perf_counter()
    with jax.enable_x64(True):
        finding = _find(claim, study)
        control = _control(claim, study, "control")
        positive = POSITIVE.get(finding.verdict)
        others = {positive: _control(claim, study, positive)} if positive else {}
    seconds = time.perf_counter() - started
    figures = {f.name: getattr(finding, f.name) for f in dataclasses.fields(finding)}
    draw = figures.pop("draw")
    figures = plain(figures, id)
    if figures["interval"] is not None:
        figures["interval"] = tuple(figures["interval"])
    assert control is not None
    return Verdict(
        **_declared(claim),
        control=control,
        **others,
        seconds=round(seconds, 3),
        figure=None,
        draw=draw,
        **figures,
    )


def _control(claim: Claim, study: Study, name: str) -> Control | None:
    """One of the controls, or None where the claim declares no such control."""
    what = getattr(claim, name)
    if what is None:
        return None
    variant = dataclasses.replace(study, variant=VARIANT_OF[name])
    return {"what": what, "verdict": _find(claim, variant).verdict}


def _declared(claim: Claim) -> dict[str, Any]:
    """What a verdict takes over from the declaration of its claim."""
    scope = None if claim.scope is None else dataclasses.asdict(claim.scope)
    named = {name: getattr(claim, name) for name in ("id", "title", "source", "statement")}
    return {**named, "scope": scope, "defect": claim.defect}


def broken(id: str, reason: str) -> Verdict:
    """The entry of a claim whose check could not be run to its end."""
    declared: dict[str, Any]
    try:
        claim = describe(id)
        declared, control = _declared(claim), claim.control
    except Exception:  # the module itself may be what is broken
        declared = {"id": id, "title": id, "source": "", "statement": ""}
        control = ""
    return Verdict(
        **declared,
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
