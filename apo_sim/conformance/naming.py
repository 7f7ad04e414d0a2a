"""What a recipe is called, and in what it differs from the loss of that name as published."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from apo_sim.conformance._calling import Observed
from apo_sim.conformance.inputs import LENGTHS
from apo_sim.conformance.recipe import Recipe
from apo_sim.geometry.links import AlphaDivergence, ForwardKL, JensenShannon, MixedChiSquare
from apo_sim.losses import DPO, IPO, KTO, SPPO, ConservativeDPO, RobustDPO, SLiC

_LINKS: dict[type, str] = {
    ForwardKL: "f-DPO (forward KL)",
    JensenShannon: "f-DPO (Jensen-Shannon)",
    AlphaDivergence: "f-DPO (alpha divergence)",
    MixedChiSquare: "chi-PO",
}
_LOSSES: dict[type, str] = {
    DPO: "DPO",
    ConservativeDPO: "cDPO",
    RobustDPO: "robust DPO",
    IPO: "IPO",
    SPPO: "SPPO",
    SLiC: "SLiC",
    KTO: "KTO",
}


@dataclass(frozen=True)
class Difference:
    """One thing in which a loss is not what its name or its settings say.

    Attributes:
        what: a keyword: swapped, reference, tokens, scale, bonus, likelihood, margin, smoothing,
            anchor, detached, value, batch; of a setting ignored, applied twice, or parameter.
        text: the same in words.
    """

    what: str
    text: str


def name_of(recipe: Recipe) -> str:
    """The name under which a loss is published.

    Example:
        >>> name_of(Recipe(DPO(), beta=2.0, margin=1.0, reference=False, mean=True))
        'SimPO'
    """
    logistic = isinstance(recipe.loss, DPO | ConservativeDPO | RobustDPO)
    if logistic and recipe.link is not None:
        return _LINKS[type(recipe.link)]
    if logistic and not recipe.reference and (recipe.mean or recipe.margin):
        return "SimPO"
    if logistic and recipe.bonus:
        return "XPO"
    return _LOSSES[type(recipe.loss)]


def parameters_of(recipe: Recipe) -> dict[str, float]:
    """Its parameters, in the library's terms.

    Example:
        >>> parameters_of(Recipe(IPO(tau=0.2), beta=1.0))
        {'beta': 1.0, 'tau': 0.2}
    """
    found = {"beta": recipe.beta}
    loss = recipe.loss
    if isinstance(loss, ConservativeDPO | RobustDPO):
        found["noise"] = float(loss.noise)
    if isinstance(loss, IPO):
        found["tau"] = float(loss.tau)
    if isinstance(loss, SLiC):
        found["margin"] = float(loss.margin)
    if isinstance(loss, KTO):
        found |= {"desirable": float(loss.desirable), "undesirable": float(loss.undesirable)}
    if isinstance(loss, SPPO) and recipe.log_normalizer is not None:
        found["log_normalizer"] = recipe.log_normalizer
    if isinstance(recipe.link, AlphaDivergence) or recipe.bonus:
        link = recipe.link
        found["alpha"] = link.alpha if isinstance(link, AlphaDivergence) else abs(recipe.bonus)
    if recipe.margin or name_of(recipe) == "SimPO":
        found["margin"] = recipe.margin
    return found


def differences(recipe: Recipe, observed: Observed, value_error: float) -> Iterator[Difference]:
    """In what a loss differs from the published one of its name."""
    name = name_of(recipe)
    if recipe.swapped:
        yield Difference("swapped", "winner and loser are swapped")
    if not recipe.reference and name != "SimPO":
        yield Difference("reference", "the reference policy is missing: scores are log pi alone")
    yield from _of_tokens(recipe, observed, name)
    if recipe.scale != 1.0:
        yield Difference("scale", _of_scale(recipe))
    if recipe.bonus < 0:
        yield Difference(
            "bonus", "the sign of XPO's bonus is wrong: alpha log pi(y~) has to be added"
        )
    if recipe.likelihood:
        yield Difference(
            "likelihood", f"{-recipe.likelihood:+.4g} log pi of the winner is added to it"
        )
    if recipe.margin and name != "SimPO":
        yield Difference("margin", f"a margin of {recipe.margin:.4g} is taken from h_w - h_l")
    if name in ("SimPO", "XPO", *_LINKS.values()) and not isinstance(recipe.loss, DPO):
        how = "smoothed" if isinstance(recipe.loss, ConservativeDPO) else "robust"
        noise = parameters_of(recipe)["noise"]
        yield Difference("smoothing", f"its labels are {how}, by {noise:.4g}")
    if isinstance(recipe.loss, KTO):
        yield from _of_anchor(recipe, observed)
    if value_error > 10 * observed.tolerance:
        yield Difference(
            "value", "its value also depends on something that no gradient goes through"
        )


def _of_tokens(recipe: Recipe, observed: Observed, name: str) -> Iterator[Difference]:
    if name != "SimPO" and recipe.mean:
        yield Difference("tokens", "scores are means over the tokens, not their sums")
    if name == "SimPO" and not recipe.mean and set(LENGTHS) <= observed.takes:
        yield Difference("tokens", "scores are sums over the tokens, not their means")


def _of_scale(recipe: Recipe) -> str:
    scale = f"it is {recipe.scale:.6g} times the library's"
    if isinstance(recipe.loss, SPPO):
        if np.isclose(recipe.scale, 2.0, rtol=1e-4):
            return f"{scale}: a factor 1/2 is missing"
        if np.isclose(recipe.scale, 2.0 / recipe.beta**2, rtol=1e-4):
            return f"{scale}, 2 / beta^2: squares of log-ratios less eta (P - 1/2), eta = 1 / beta"
    return scale


def _of_anchor(recipe: Recipe, observed: Observed) -> Iterator[Difference]:
    words = {
        "free": "z0 may be below 0",
        "reversed": "z0 is reversed: log(pi_ref/pi) in place of log(pi/pi_ref)",
        "none": "there is no z0: it is 0",
    }
    if recipe.anchor in words:
        yield Difference("anchor", words[recipe.anchor])
    if observed.framework != "numpy" and np.abs(observed.anchor_gradient).max() > 1e-12:
        yield Difference("detached", "z0 is not detached: a gradient goes through it")
