"""What cannot work, said before the time is spent: steps that are lost, a beta without effect."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from apo_sim.explain.rules import FLAT_MARGIN, MOST_LOST
from apo_sim.llm.training.objectives import Objective
from apo_sim.losses import DPO

# Of the squared gradients that RMSProp remembers, from one step to the next.
RMSPROP_DECAY = 0.99


class StepsRounded(UserWarning):
    """Parameters are trained in a precision that most of their steps are lost in."""


class BetaWithoutEffect(UserWarning):
    """The steps are too short for beta to change where they lead."""


def lost_share(trained: Any, rate: float) -> float:
    """Share of the parameters that a step of this length leaves as they are.

    Args:
        trained: a tree of parameters.
        rate: the learning rate, which is what RMSProp and Adam move a parameter by.

    Example:
        >>> lost_share([jnp.array([1.0, 1e-4], "bfloat16"), jnp.array([0.0, 1.0])], 1e-6)
        0.25
    """
    return float(_lost_share(trained, rate))


@jax.jit
def _lost_share(trained: Any, rate: Any) -> Any:
    leaves = jax.tree.leaves(trained)
    moved = [optax.apply_updates(leaf, jnp.asarray(rate, leaf.dtype)) for leaf in leaves]
    lost = sum(jnp.sum(new == old) for new, old in zip(moved, leaves, strict=True))
    return lost / sum(leaf.size for leaf in leaves)


def warn_of_rounding(trained: Any, rate: float) -> None:
    """Warn where most parameters are too large for a step of this length to change them.

    A number of b bits is left as it is by all that is smaller than 2^-b of it, or so.

    Args:
        trained: a tree of parameters.
        rate: the learning rate.

    Example:
        >>> import pytest
        >>> with pytest.warns(StepsRounded, match="keeps 8 bits: 100% of them"):
        ...     warn_of_rounding([jnp.ones(4, "bfloat16")], 5e-7)
    """
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(trained)}
    bits = min((jnp.finfo(dtype).nmant + 1 for dtype in dtypes), default=np.inf)
    # Nothing below 1 would be lost: there is no need to look at the parameters.
    if rate >= 2.0**-bits:
        return
    share = lost_share(trained, rate)
    if share > MOST_LOST:
        names = " and ".join(sorted(map(str, dtypes)))
        warnings.warn(
            f"the model's parameters are {names}, which keeps {bits} bits: {share:.0%} of them are "
            f"more than 2^{bits} times as large as a step of learning_rate = {rate:g}, which "
            "leaves them as they are; load the model in float32, or pass lora=LoRA(), which keeps "
            "its adapters so, or raise the rate",
            StepsRounded,
            stacklevel=3,
        )


def widest_margin(slope: float, rates: Float[np.ndarray, " steps"]) -> float:
    """How far RMSProp can take the mean margin of DPO from 0, to first order.

    The k-th step moves a parameter whose gradient is steady by rate_k / sqrt(1 - decay^k). All of
    them together change the loss by that times the sum of the gradient's absolute values, and the
    margin by twice as much, since the log-sigmoid begins with the slope 1/2.

    Args:
        slope: the sum of the absolute values of the first gradient of the loss.
        rates: learning rate of every step.

    Source: ours.

    Example:
        >>> round(widest_margin(slope=50.0, rates=np.full(10, 1e-4)), 3)
        0.506
    """
    number = np.arange(1, len(rates) + 1)
    return float(2.0 * slope * np.sum(rates / np.sqrt(1.0 - RMSPROP_DECAY**number)))


def warn_of_beta(
    objective: Objective, beta: float, slope: float, rates: Float[np.ndarray, " steps"]
) -> None:
    """Warn where RMSProp's steps end before beta can change their direction.

    As long as margins are small, every pair has the weight 1/2, and beta only multiplies the
    gradient, which RMSProp divides by its own size.

    Args:
        objective: other losses than DPO's, and scores without a reference, are passed over: their
            margins do not begin where the log-sigmoid is straight.
        beta: proximal weight.
        slope: the sum of the absolute values of the first gradient.
        rates: learning rate of every step.

    Example:
        >>> import pytest
        >>> with pytest.warns(BetaWithoutEffect, match="at most 0.041, .* learning_rate = 0.00049"):
        ...     warn_of_beta(Objective(), 0.1, slope=4.0, rates=np.full(10, 1e-4))
        >>> warn_of_beta(Objective(), 0.1, slope=400.0, rates=np.full(10, 1e-4))
    """
    plain = objective.reference and not objective.explores and isinstance(objective.loss, DPO)
    margin = widest_margin(slope, rates)
    if not plain or not 0.0 < margin < FLAT_MARGIN:
        return
    enough = float(rates.max()) * FLAT_MARGIN / margin
    warnings.warn(
        f"beta = {beta:g} hardly counts: by the gradient of the first step, {len(rates)} steps of "
        f"RMSProp at such rates widen the margin to at most {margin:.2g}, below {FLAT_MARGIN:g}, "
        "where every pair still has the weight 1/2; beta then only multiplies the gradient, which "
        f"RMSProp divides out; pass learning_rate = {enough:.2g} or more, or more pairs or epochs",
        BetaWithoutEffect,
        stacklevel=4,
    )
