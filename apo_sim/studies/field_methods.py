"""The methods that the comparison is of: how each is made, and what is tried to tune it.

Every method has eight trials: eight values of its one number, or a grid of four by two.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from apo_sim.losses import DPO, IPO, SPPO, ConservativeDPO, RobustDPO
from apo_sim.methods import (
    DNO,
    EGPO,
    INPO,
    KTO,
    MDVI,
    NPG,
    PPO,
    REBEL,
    RLHF,
    XPO,
    Accelerated,
    ChiPO,
    FittedReward,
    MagneticMD,
    Method,
    NashMD,
    OptimisticMD,
    PessimisticMLE,
    PolicyGradient,
    Proximal,
    SimPO,
)
from apo_sim.momentum import Constant
from apo_sim.optimizers import AdamW
from apo_sim.preferences import Flipped, Pairwise

TRIALS = 8
ONCE, EACH, FIRST = "at once", "in each iteration", "in the first iteration"
# The rate of wrong labels that the losses made for them assume: the larger one of the study.
ASSUMED = 0.1

Trial = tuple[float, float]


@dataclass(frozen=True)
class Setting:
    """What a method is made of. Numbers may be traced.

    Attributes:
        first: the number that is tuned.
        second: the other one, where there are two.
        alpha: extrapolation of the momentum on top.
        flipped: probability of a wrong label.
        labels: n, of the whole run.
        features: of the arms, shape (1, arms, features).
    """

    first: Any
    second: Any
    alpha: Any
    flipped: Any
    labels: Any
    features: Any

    @property
    def ranker(self) -> Flipped:
        return Flipped(Pairwise(), self.flipped)

    @property
    def model(self) -> FittedReward:
        return FittedReward(ranker=self.ranker)


@dataclass(frozen=True)
class Contender:
    """One method of the comparison.

    Attributes:
        make: the method in a setting, with its momentum if it takes any.
        trials: what is tried to tune it.
        labels: when it gets them: at once (from the reference policy, one iteration), in each
            iteration the same number, or all in the first.
        tuned: what is tuned, in words.
        average: judged by the average of its policies rather than by the last.
        accelerates: whether momentum can be put on top.
        of_pair: labels it makes of a compared pair.
        sees_rewards: whether it is told rewards, not preferences: a yardstick, no rival.
        knows_features: whether it is told what makes rewards linear.
    """

    make: Callable[[Setting], Method]
    trials: tuple[Trial, ...]
    labels: str
    tuned: str
    average: bool = False
    accelerates: bool = False
    of_pair: int = 1
    sees_rewards: bool = False
    knows_features: bool = False


def _line(low: float, high: float) -> tuple[Trial, ...]:
    return tuple((float(value), 0.0) for value in np.geomspace(low, high, TRIALS))


def _grid(low: float, high: float, second: tuple[float, float]) -> tuple[Trial, ...]:
    values = np.geomspace(low, high, TRIALS // 2).tolist()
    return tuple(itertools.product(values, second))


_BETAS = _line(0.01, 30.0)
_STEPS = _line(0.03, 100.0)


def _offline(loss: Any) -> Contender:
    def make(setting: Setting) -> Method:
        return Proximal(loss, beta=setting.first, ranker=setting.ranker)

    return Contender(make, _BETAS, ONCE, "β")


def _iterative(loss: Any, average: bool = False) -> Contender:
    def make(setting: Setting) -> Method:
        momentum = Constant(setting.alpha)
        return Proximal(loss, momentum, beta=setting.first, ranker=setting.ranker)

    return Contender(make, _BETAS, EACH, "β", average, accelerates=True)


def _online(
    plain: Callable[[Setting], Method], trials: tuple[Trial, ...], tuned: str, **more: Any
) -> Contender:
    """A method that collects its own data, with momentum on top."""

    def make(setting: Setting) -> Method:
        return Accelerated(plain(setting), Constant(setting.alpha))

    return Contender(make, trials, EACH, tuned, accelerates=True, **more)


def _pessimistic(setting: Setting, **more: Any) -> PessimisticMLE:
    return PessimisticMLE(
        setting.features, regularization=1.0 / setting.labels, ranker=setting.ranker, **more
    )


# Rewards of these problems span at most 2, which is what the methods with a bound are told.
BANDITS: dict[str, Contender] = {
    "DPO, offline": _offline(DPO()),
    "conservative DPO, offline": _offline(ConservativeDPO(ASSUMED)),
    "robust DPO, offline": _offline(RobustDPO(ASSUMED)),
    "IPO, offline": _offline(IPO()),
    "χPO": Contender(lambda s: ChiPO(s.first, ranker=s.ranker), _BETAS, ONCE, "β"),
    "KTO": Contender(
        lambda s: KTO(s.first, reward_bound=s.second, ranker=s.ranker),
        _grid(0.03, 1.0, (1.0, 4.0)),
        ONCE,
        "β, bound",
        of_pair=2,
    ),
    "SimPO": Contender(
        lambda s: SimPO(s.first, s.second, ranker=s.ranker),
        _grid(0.1, 10.0, (0.1, 1.0)),
        ONCE,
        "β, margin",
    ),
    "pessimistic MLE": Contender(
        lambda s: _pessimistic(s, bound=4.0, radius=s.first / s.labels**0.5),
        _line(0.03, 30.0),
        ONCE,
        "radius √n",
        knows_features=True,
    ),
    "greedy MLE": Contender(
        lambda s: _pessimistic(s, bound=s.first, greedy=True),
        _line(0.3, 30.0),
        ONCE,
        "bound",
        knows_features=True,
    ),
    "iterative DPO": _iterative(DPO()),
    "iterative IPO": _iterative(IPO()),
    "SPPO": _iterative(SPPO()),
    "DNO": _online(lambda s: DNO(s.first, s.ranker), _BETAS, "β"),
    "RLHF, online": _online(lambda s: RLHF(s.first, s.model, online=True), _BETAS, "β"),
    "XPO": _online(
        lambda s: XPO(s.first * s.second, s.first, flipped=s.flipped),
        _grid(0.03, 3.0, (0.01, 0.1)),
        "β, bonus",
    ),
    "NPG": _online(lambda s: NPG(s.first, s.model), _STEPS, "step"),
    "REBEL": _online(lambda s: REBEL(s.first, s.model), _STEPS, "step"),
    "policy gradient": _online(
        lambda s: PolicyGradient(s.first, s.model), _line(0.3, 1000.0), "step"
    ),
    "PPO": _online(
        lambda s: PPO(s.model, optimizer=AdamW(s.first)), _line(0.03, 3.0), "step of Adam"
    ),
    "PPO, one reward model": Contender(
        lambda s: PPO(FittedReward(refit=False, ranker=s.ranker), optimizer=AdamW(s.first)),
        _line(0.03, 3.0),
        FIRST,
        "step of Adam",
    ),
    "MDVI": _online(
        lambda s: MDVI(s.first, s.second * s.first, s.model),
        _grid(0.01, 10.0, (0.03, 0.3)),
        "λ, entropy",
    ),
    "NPG, true reward": _online(lambda s: NPG(s.first), _STEPS, "step", sees_rewards=True),
    "PPO, true reward": _online(
        lambda s: PPO(optimizer=AdamW(s.first)),
        _line(0.03, 3.0),
        "step of Adam",
        sees_rewards=True,
    ),
}

GAMES: dict[str, Contender] = {
    "DPO, offline": _offline(DPO()),
    "SPPO, offline": _offline(SPPO()),
    "iterative DPO": _iterative(DPO()),
    "iterative IPO": _iterative(IPO()),
    "SPPO": _iterative(SPPO()),
    "SPPO, average": _iterative(SPPO(), average=True),
    "DNO": BANDITS["DNO"],
    "RLHF, online": BANDITS["RLHF, online"],
    "PPO": BANDITS["PPO"],
    "Nash-MD": _online(
        lambda s: NashMD(s.first, s.second, s.ranker), _grid(0.1, 30.0, (0.03, 0.3)), "step, pull"
    ),
    "INPO": _online(
        lambda s: INPO(s.first, s.second, s.ranker), _grid(0.1, 30.0, (0.03, 0.3)), "step, pull"
    ),
    "magnetic MD": _online(
        lambda s: MagneticMD(s.first, s.second, ranker=s.ranker),
        _grid(0.1, 30.0, (0.03, 0.3)),
        "step, price",
    ),
    "EGPO": Contender(
        lambda s: EGPO(s.first, s.second, s.ranker),
        _grid(0.1, 30.0, (0.03, 0.3)),
        EACH,
        "step, pull",
    ),
    "optimistic MD": _online(lambda s: OptimisticMD(s.first, s.ranker), _STEPS, "step"),
}
