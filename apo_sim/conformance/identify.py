"""What loss is this? A function of log-probabilities against every loss of the library."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from apo_sim.conformance._calling import Call, Observed, bind, observe
from apo_sim.conformance._fitting import FAMILIES, LeastSquares
from apo_sim.conformance._readings import judge_settings
from apo_sim.conformance.inputs import random_inputs
from apo_sim.conformance.naming import Difference, differences, name_of, parameters_of
from apo_sim.conformance.recipe import Recipe, differentiate, on_log_probabilities
from apo_sim.conformance.target import Target, implied_target
from apo_sim.losses import DPO, is_pointwise

_ROWS = 40


@dataclass(frozen=True)
class Identification:
    """What a loss was found to be.

    Attributes:
        name: of the loss, None if it is none that is known.
        parameters: of it, in the library's terms; of the nearest loss if it is none.
        differences: from the loss of that name as published, and from the settings.
        error: the largest relative difference of a slope from the library's own.
        nearest: name of the closest loss.
        target: the difference that it fits, if it is a function of a difference but no known loss.
        pairs: number of random pairs that were compared.
        framework: the framework it computes in: numpy, jax, torch, or "torch float32" if it fails
            in double precision.
    """

    name: str | None
    parameters: dict[str, float]
    differences: tuple[Difference, ...]
    error: float
    nearest: str
    target: Target | None
    pairs: int
    framework: str

    def __str__(self) -> str:
        given = ", ".join(f"{name} = {value:.6g}" for name, value in self.parameters.items())
        if self.name is None:
            lines = [
                f"This is not a known loss; the nearest is {self.nearest} with {given}, "
                f"whose gradient is off by up to {100 * self.error:.2g} %."
            ]
            lines.append(_of_target(self.target))
        else:
            lines = [
                f"This is {self.name} with {given}: its gradient is that of the library to "
                f"{self.error:.1g} on {self.pairs} random pairs ({self.framework})."
            ]
        return "\n".join([*lines, *(f"- {found.text}" for found in self.differences)])


def _of_target(target: Target | None) -> str:
    if target is None:
        return "It is not a function of the difference of the two scores."
    score = "log(pi/pi_ref)" if target.reference else "log pi"
    per_token = ", a mean over tokens" if target.mean else ""
    wants = ", ".join(f"{d:.4g} at p = {p:g}" for p, d in target.difference.items())
    return f"It is a function of the difference of {score}{per_token} and fits {wants}."


def identify(loss: Any, **settings: Any) -> Identification:
    """Identify a loss: its name, its parameters and its differences from the standard one.

    Random log-probabilities go in; value and gradient are compared with those of the library's
    losses, whose parameters are fitted. The gradient is what counts: a value may differ by what no
    gradient goes through. Of a NumPy function it is taken by finite differences, which cannot tell
    what a framework would detach.

    Args:
        loss: a function in NumPy, JAX or PyTorch, or a loss of the library. It takes by name
            `policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps`
            (the last two may be left out), or four arrays by position in that order; and by name
            what it likes of `chosen_lengths, rejected_lengths` (tokens), `policy_kl_logps,
            ref_kl_logps` (of a response to another prompt, for KTO), `log_normalizer` (beta log Z,
            for SPPO), `chosen_from_ref` (whether the winner is the reference policy's, for XPO).
            A pointwise loss takes `policy_logps, ref_logps, labels`. It returns a number for each
            pair, or their mean, or a tuple that begins with that.
        **settings: what its parameters are meant to be, such as beta=0.1; they are passed to a loss
            that takes them by name, and compared with what is found.

    Returns:
        An `Identification`, whose text says it in words.

    Raises:
        InvalidArgument: the loss cannot be called so, or its numbers are not finite.

    Example:
        >>> def mine(policy_chosen, policy_rejected, ref_chosen, ref_rejected):
        ...     d = policy_chosen - ref_chosen - policy_rejected + ref_rejected
        ...     return np.logaddexp(0.0, -0.1 * d)
        >>> found = identify(mine)
        >>> found.name, round(found.parameters["beta"], 6), found.differences
        ('DPO', 0.1, ())
    """
    call = _call(loss, settings)
    observed = observe(call, random_inputs(_ROWS, seed=0))
    recipe, error, value_error = _nearest(observed)
    known = error <= observed.tolerance
    found = [*differences(recipe, observed, value_error)] if known else []
    found += judge_settings(recipe if known else None, call, settings, observed)
    if observed.coupled and not (known and is_pointwise(recipe.loss)):
        found.append(Difference("batch", "the loss of a pair depends on the others in the batch"))
    return Identification(
        name_of(recipe) if known else None,
        parameters_of(recipe),
        tuple(found),
        error,
        name_of(recipe),
        None if known else implied_target(call, observed),
        len(observed.values),
        observed.framework,
    )


def _call(loss: Any, settings: Mapping[str, Any]) -> Call:
    if not isinstance(loss, type) and (is_pointwise(loss) or _takes_scores(loss)):
        loss = on_log_probabilities(loss, float(settings.get("beta", 1.0)))
    return bind(loss, settings)


def _takes_scores(loss: Any) -> bool:
    try:
        return list(inspect.signature(loss).parameters) == ["h_winner", "h_loser", "extra"]
    except (TypeError, ValueError):
        return False


def _nearest(observed: Observed) -> tuple[Recipe, float, float]:
    """The first loss that agrees, or else the nearest; how far off its gradient and value are.

    Plain losses are tried before those with more parameters, which could take their place.
    """
    closest = (Recipe(DPO(), 1.0), np.inf, np.inf)
    for family in FAMILIES:
        for recipe in family(observed):
            found = (recipe, *_errors(recipe, observed))
            if found[1] < closest[1]:
                closest = found
            if found[1] <= observed.tolerance:
                return found
    return closest


def _errors(recipe: Recipe, observed: Observed) -> tuple[float, float]:
    values, slopes = differentiate(recipe, observed.inputs)
    fit = LeastSquares(observed.gradient)
    error = np.abs((slopes - observed.gradient) * fit.weight).max()
    off = observed.values - values
    off = np.abs(off - np.median(off))
    size = np.abs(observed.values) + np.median(np.abs(observed.values)) + 1e-12
    return float(np.nan_to_num(error, nan=np.inf)), float((off / size).max())
