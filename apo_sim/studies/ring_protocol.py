"""The ring task of the reviews: everything that its description leaves open, in one place.

What is given: a network with two layers of width 256, actions in a plane, reward highest on a
circle and decaying exponentially off it, 300 iterations, beta = 1, alpha = 0.3, the average regret
of every 60 iterations. What is not: how the policy represents continuous actions, how many labels
an iteration has, how it is trained, how fast the reward decays.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.families import lattice, ring_bandit
from apo_sim.momentum import Constant
from apo_sim.optimizers import SGD, AdamW, RMSProp
from apo_sim.policies import MLP, Gaussian
from apo_sim.proximal import ByGradient
from apo_sim.spaces import InParameters, Space

POLICIES: dict[str, Callable[..., Any]] = {"lattice": MLP, "gaussian": Gaussian}
OPTIMIZERS: dict[str, Callable[..., Any]] = {"sgd": SGD, "adamw": AdamW, "rmsprop": RMSProp}


@dataclass(frozen=True)
class Protocol:
    """One way of reading the description; the defaults are what `ring_search` found.

    Attributes:
        policy: "lattice", a network that scores each point of a lattice, softmax over all; or
            "gaussian", a network that says mean and width of a Gaussian on the lattice.
        side: points of the lattice along an axis of [-1, 1]^2.
        radius: of the circle.
        decay: distance over which the reward falls by a factor e.
        width: of a hidden layer.
        depth: hidden layers; one, that is two layers of weights.
        activation: between the layers.
        samples: preference pairs an iteration; None for exact preferences.
        optimizer: "sgd", "adamw" or "rmsprop".
        learning_rate: of the optimiser.
        steps: inner steps an iteration, each on all pairs of the iteration.
        keep_state: whether the optimiser keeps its state between iterations.
    """

    policy: str = "lattice"
    side: int = 21
    radius: float = 0.54
    decay: float = 0.54
    width: int = 256
    depth: int = 1
    activation: str = "relu"
    samples: int | None = 1024
    optimizer: str = "adamw"
    learning_rate: float = 0.0033
    steps: int = 5
    keep_state: bool = True


# Numbers of a protocol that one compiled program takes as they come.
TRACED = ("radius", "decay", "learning_rate")


# Average regret of every 60 iterations, as the reviews report it.
SEGMENT = 60
REPORTED = {
    "standard": (0.3612, 0.1132, 0.0343, 0.0125, 0.0060),
    "extrapolation": (0.3368, 0.0840, 0.0119, 0.0037, 0.0025),
}
ITERATIONS, ALPHA, BETA = 300, 0.3, 1.0


def segments(regret: np.ndarray) -> np.ndarray:
    """The average of every 60 iterations, from shape (..., iterations) to (..., segments).

    Example:
        >>> segments(np.ones((2, 300))).shape
        (2, 5)
    """
    return regret.reshape(*regret.shape[:-1], -1, SEGMENT).mean(axis=-1)


def setup(
    protocol: Protocol, seed: int, space: Space = InParameters()
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What `apo_sim.sweep.trainings` runs: from the numbers of a lane to a training.

    A lane has `replicate`, `alpha` and `beta` (T,), and may have its own values of `TRACED`. All
    lanes of a replicate start from the same network, which is the reference policy, and meet the
    same random numbers. `space` is where momentum acts.

    Example:
        >>> given = setup(Protocol(side=5), seed=0)({"replicate": 1, "alpha": 0.3, "beta": 1.0})
        >>> given["problem"].num_arms
        25
    """

    def of_lane(lane: dict[str, Any]) -> dict[str, Any]:
        own = {name: lane.get(name, getattr(protocol, name)) for name in TRACED}
        actions = lattice(protocol.side).astype(jnp.float32)
        policy = POLICIES[protocol.policy](
            actions, protocol.width, protocol.depth, protocol.activation
        )
        key = jax.random.fold_in(jax.random.key(seed), lane["replicate"])
        to_params, to_data = jax.random.split(key)
        params = policy.init(to_params)
        radius, decay = (jnp.asarray(own[name], jnp.float32) for name in ("radius", "decay"))
        bandit = ring_bandit(actions, radius, decay)
        optimizer = OPTIMIZERS[protocol.optimizer](own["learning_rate"])
        return {
            "problem": dataclasses.replace(bandit, log_ref=policy.log_prob(params)),
            "policy": policy,
            "params": params,
            "momentum": Constant(jnp.asarray(lane["alpha"], jnp.float32)),
            "beta": lane["beta"],
            "samples": protocol.samples,
            "step": ByGradient(optimizer, protocol.steps, keep_state=protocol.keep_state),
            "space": space,
            "key": to_data,
        }

    return of_lane
