"""Kinds of options that several subcommands share."""

from typing import Annotated, Any

import tyro

from apo_sim.cli.index import names_of

Numbers = Annotated[tuple[float, ...], tyro.conf.arg(metavar="X ...", help_behavior_hint="")]
Counts = Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...", help_behavior_hint="")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")]
Json = Annotated[
    bool,
    tyro.conf.arg(
        help="Print JSON for other programs; everything else goes to standard error.",
        help_behavior_hint="",
    ),
    tyro.conf.FlagCreatePairsOff,
]
Module = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="NAME",
        help="A module with claims of your own; the working directory is searched, too.",
        help_behavior_hint="",
    ),
]


def listed(what: str, registry: str, default: str = "", *, also: str = "") -> Any:
    """Describe an option that takes names of a registry: one if it has a default, else several.

    Args:
        what: what the option is, in words.
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
