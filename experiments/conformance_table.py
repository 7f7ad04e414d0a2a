"""Write docs/conformance.md: what each of TRL's losses is, as it was found by running it.

Needs TRL (extra `bench`); every row of the first table is a run of `identify` on the loss inside
TRL's own trainer, every row of the second one of `convert`.
"""

import argparse
import textwrap
from pathlib import Path
from typing import Any

import jax

from apo_sim.conformance import convert, identify, load_loss, trl

PAGE = Path(__file__).parents[1] / "docs/conformance.md"

# What is set apart from TRL's defaults, so that every parameter can be seen.
SETTINGS: dict[str, dict[str, float]] = {
    "dpo": {"beta": 0.1, "label_smoothing": 0.1},
    "robust": {"beta": 0.1, "label_smoothing": 0.1},
    "exo_pair": {"beta": 0.1, "label_smoothing": 1e-3},
    "f_alpha": {"beta": 0.1, "f_alpha_divergence_coef": 0.7},
    "kto": {"beta": 0.1, "desirable_weight": 1.5, "undesirable_weight": 0.7},
    "cpo": {"beta": 0.1, "label_smoothing": 0.1},
    "simpo": {"beta": 0.1, "simpo_gamma": 0.5},
    "orpo": {"beta": 0.1},
    "tpo": {"beta": 0.1, "label_smoothing": 0.1},
    "tpo_l": {"beta": 0.1, "tpo_l_gamma": 0.5},
}
CONVERSIONS: list[tuple[str, str, dict[str, float]]] = [
    ("ipo", "trl", {"beta": 0.1}),
    ("ipo", "paper", {"tau": 0.1}),
    ("ipo", "openrlhf", {"beta": 0.1}),
    ("sppo", "trl", {"beta": 0.1}),
    ("sppo", "paper", {"eta": 1000.0}),
    ("simpo", "trl", {"beta": 0.1, "simpo_gamma": 0.5}),
    ("simpo", "authors", {"beta": 2.0, "gamma_beta_ratio": 0.5}),
    ("slic", "trl", {"beta": 0.1}),
    ("robust", "trl", {"beta": 0.1, "label_smoothing": 0.1}),
    ("f_dpo_alpha", "trl", {"beta": 0.1, "f_alpha_divergence_coef": 0.7}),
]
HEAD = """\
# What TRL's losses are

Written by `python experiments/conformance_table.py` from TRL {version}; every row comes from a run.
The loss inside TRL's own trainer was evaluated at random log-probabilities, and its values and
gradients were compared with those of the library's losses (`apo-sim conform trl:NAME`). The error
is the largest relative difference of the gradients. Parameters are those of the library: h = beta
log(pi/pi_ref), IPO (h_w - h_l - 1/tau)^2, SPPO ((h_w - 1 + b)^2 + (h_l + b)^2) / 2 with b =
`log_normalizer`. For a loss that is none of these, the table gives the difference D of log-ratios
of two responses that the loss fits, where the first response wins with probability p.

| TRL | settings | it is | error | differences |
|---|---|---|---|---|
"""
BETWEEN = """
TRL {version} has no trainer for XPO or Nash-MD. The likelihood term in the losses of CPO, ORPO and
TPO is left out above. That CPO's ipo and simpo and ORPO take means over the tokens was read from
their `concatenated_forward`; everything else was run.

This table converts parameters of other tools with `apo_sim.conformance.convert`. The other tool's
loss is `factor` times the library's loss with the converted parameters.

| loss | tool | parameters there | apo_sim | factor |
|---|---|---|---|---|
"""


def settings_of(name: str) -> dict[str, float]:
    """What a loss of TRL is run with."""
    return SETTINGS.get(name, {"beta": 0.1})


def row(name: str) -> str:
    """A line of the first table."""
    settings = settings_of(name)
    found = identify(load_loss(f"trl:{name}"), **settings)
    if found.name is None:
        what, error = "none of the library's", "-"
        if found.target is not None:
            wants = (
                f"{d:.3g} at p = {p:g}" for p, d in found.target.difference.items() if p != 0.95
            )
            what += f"; a function of D, fits {', '.join(wants)}"
        else:
            what += "; not a function of D"
    else:
        what, error = f"{found.name}: {_listed(found.parameters)}", f"{found.error:.0e}"
    remarks = [difference.text for difference in found.differences]
    if found.framework != "torch":
        remarks.append("fails in float64, run in float32")
    return f"| {name} | {_listed(settings)} | {what} | {error} | {'; '.join(remarks) or '-'} |"


def conversion(loss: str, tool: str, given: dict[str, float]) -> str:
    """A line of the second table."""
    found = convert(loss, tool, "apo_sim", **given)
    parts = (loss, tool, _listed(given), _listed(found.parameters), f"{found.factor:g}")
    return f"| {' | '.join(parts)} |"


def page() -> str:
    """The whole page."""
    head, between = (text.format(version=trl.version()) for text in (HEAD, BETWEEN))
    rows = [row(name) for name in trl.NAMES]
    return "\n".join(
        [head + "\n".join(rows), between + "\n".join(conversion(*c) for c in CONVERSIONS), ""]
    )


def _listed(numbers: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value:.4g}" for name, value in numbers.items())


def main() -> None:
    """Write the page, or say whether it is as it would be written."""
    parser = argparse.ArgumentParser(description=textwrap.dedent(__doc__ or ""))
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if it differs")
    jax.config.update("jax_enable_x64", True)
    if parser.parse_args().check:
        raise SystemExit(0 if PAGE.read_text() == page() else 1)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
