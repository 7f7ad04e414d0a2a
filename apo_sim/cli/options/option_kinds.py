"""Kinds of options that several subcommands have."""

from typing import Annotated, Any

import tyro

from apo_sim.cli.index import names_of

Numbers = Annotated[tuple[float, ...], tyro.conf.arg(metavar="X ...", help_behavior_hint="")]
Counts = Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...", help_behavior_hint="")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")]
Json = Annotated[
    bool,
    tyro.conf.arg(
        help="Print JSON, for programs; all else goes to the standard error.",
        help_behavior_hint="",
    ),
    tyro.conf.FlagCreatePairsOff,
]


def listed(what: str, registry: str, default: str = "", *, also: str = "") -> Any:
    """An option whose help lists the names that it takes: several, or one if it has a default.

    Args:
        what: the option, in words.
        registry: the registry of the names, such as `"LOSSES"`.
        default: the name that is taken when none is given.
        also: a further registry, whose names follow.
    """
    names = names_of(registry) + (names_of(also) if also else [])
    return tyro.conf.arg(
        metavar="NAME" if default else "NAME ...",
        help_behavior_hint=f"(default: {default})" if default else "",
        help=f"{what}: {', '.join(names)}.",
    )
