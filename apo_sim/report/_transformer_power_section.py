"""What the report says of the study of a small transformer with power: the package's results."""

import functools
from dataclasses import dataclass

from apo_sim.report import style
from apo_sim.report._figure import Figure, embed
from apo_sim.studies import transformer_power


@dataclass(frozen=True)
class Powered:
    """What the page shows.

    Attributes:
        finding: in words, a line each.
        figure: as the page embeds it.
        command: makes the results again.
    """

    finding: list[str]
    figure: Figure
    command: str


@functools.cache
def powered() -> Powered:
    """Drawn once, however many pages show it.

    Example:
        >>> powered().command
        'python experiments/transformer_power.py'
    """
    results = transformer_power.read()
    drawn = style.render(functools.partial(transformer_power.draw, results=results), "power")
    return Powered(
        finding=transformer_power.finding(results).text.splitlines(),
        figure=embed(style.for_page(drawn["png"])),
        command="python experiments/transformer_power.py",
    )
