"""The list of claims: how one is declared, found by its id, and checked."""

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from apo_sim.claims.scope import Scope
from apo_sim.claims.verdict import (
    POSITIVE,
    VARIANT_OF,
    ClaimError,
    Control,
    Finding,
    Statement,
    Study,
    Verdict,
    check_id,
)
from apo_sim.claims.words import Effort, Origin, Ruling
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.plain_kinds import as_text, one_of

Check = Callable[[Study], Finding]

_modules: dict[str, str] = {}
_claims: dict[str, "Claim"] = {}


@dataclass(frozen=True, kw_only=True)
class Declaration(Statement):
    """What a claim says of itself: all but the check that judges it.

    Attributes:
        control: what the negative control makes wrong.
        repair: the true statement in place of one that fails, if there is one.
        power: the effect that is planted to see whether an undecided check can decide.
        errata: what is wrong in the paper, if anything, in words and LaTeX.
    """

    control: str
    repair: str | None = None
    power: str | None = None
    errata: str | None = None


@dataclass(frozen=True, kw_only=True)
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
    source: Origin | str,
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
        source: an `Origin`, or its word: `"paper"`, `"reviews"` or `"ours"`.
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
    named = Origin(one_of(Origin)("source", source))
    check_id(id)

    def declare(function: Check) -> Check:
        place, other = _place(function), _claims.get(id)
        taken = _place(other.check) if other else (_modules.get(id, place[0]), place[1])
        if taken != place:
            raise InvalidArgument(
                "id",
                id,
                f"is already used by {'.'.join(taken if other else taken[:1])}",
                "choose another id",
            )
        _claims[id] = Claim(
            id=id,
            title=title,
            source=named,
            statement=statement,
            scope=scope,
            control=control,
            repair=repair,
            power=power,
            defect=defect,
            errata=errata,
            check=function,
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


def declared_by(module: str) -> list[str]:
    """The ids of the claims that a module declares, once it has been imported.

    Those of a package are what its modules declare, as far as it imports them.

    Example:
        >>> import apo_sim.claims.n2
        >>> declared_by("apo_sim.claims.n2")
        ['N2']
    """
    places = {id: claim.check.__module__ for id, claim in _claims.items()}
    return [id for id, place in places.items() if f"{place}.".startswith(f"{module}.")]


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


def is_own(id: str) -> bool:
    """Whether a claim is none of the package's, but of a user's module.

    Example:
        >>> is_own("LD.2"), is_own("my-claim")
        (False, True)
    """
    return id not in _modules


def command(id: str) -> str:
    """The command that judges a claim, of the package's own or of a user's module.

    Example:
        >>> command("LD.2")
        'apo-sim validate --claim LD.2'
    """
    named = f" --module {module(id)}" if id in _claims and is_own(id) else ""
    return f"apo-sim validate{named} --claim {id}"


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


def check(id: str, effort: Effort | str = Effort.QUICK, seed: int = 0) -> Verdict:
    """Check a claim with its negative control, and with the positive one that its verdict needs.

    All run in float64, whatever JAX is set to outside.

    Args:
        id: the claim, such as `"N2"`.
        effort: an `Effort`, or its word: `"quick"` (seconds) or `"full"` (minutes).
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
        needed = ("control", POSITIVE.get(Ruling(finding.verdict)))
        controls = {name: _control(claim, study, name) for name in needed if name}
    return Verdict(
        _statement(claim),
        finding,
        {name: control for name, control in controls.items() if control is not None},
        seconds=round(time.perf_counter() - started, 3),
    )


def _control(claim: Claim, study: Study, name: str) -> Control | None:
    """One of the controls, or None where the claim declares no such control."""
    what = getattr(claim, name)
    if what is None:
        return None
    variant = dataclasses.replace(study, variant=VARIANT_OF[name])
    return {"what": what, "verdict": _find(claim, variant).verdict}


def _statement(claim: Claim) -> Statement:
    """What a verdict takes over from the declaration of its claim."""
    return Statement(**{f.name: getattr(claim, f.name) for f in dataclasses.fields(Statement)})


def broken(id: str, reason: str) -> Verdict:
    """The entry of a claim whose check could not be run to its end."""
    try:
        claim = describe(id)
        statement, control = _statement(claim), claim.control
    except Exception:  # the module itself may be what is broken
        statement, control = Statement(id, id, "", ""), ""
    return Verdict(statement, None, {"control": {"what": control, "verdict": None}}, reason=reason)


def _find(claim: Claim, study: Study) -> Finding:
    return _as_finding(claim.id, claim.check(study)).as_plain(claim.id)


def _as_finding(claim: str, found: object) -> Finding:
    """What a check returned, which somebody else may have written."""
    if not isinstance(found, Finding):
        raise ClaimError(
            f"claim {claim}: returned a {type(found).__name__}, not a Finding; return what a "
            "function of apo_sim.claims.judge makes of the figures, such as upper_bound"
        )
    return found


def _place(function: Check) -> tuple[str, str]:
    return function.__module__, function.__qualname__
