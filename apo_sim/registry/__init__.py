"""The library's own objects by name, for `sweep`, the command line and their messages.

To name a new loss, rule, ranker, geometry, method or family, add a line here. The name then works
in Python, on the command line and in files.
"""

from collections.abc import Callable
from typing import Any

from apo_sim import geometry
from apo_sim.geometry import Geometry
from apo_sim.losses import DPO, IPO, SPPO, ConservativeDPO, Loss, RobustDPO, SLiC
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
    ChiPO,
    MagneticMD,
    Method,
    NashMD,
    OptimisticMD,
    PolicyGradient,
    Proximal,
    SimPO,
)
from apo_sim.momentum import Averaging, Constant, FromBehaviour, Momentum, Nesterov, NoMomentum
from apo_sim.preferences import BestAgainstWorst, Pairwise, Ranker
from apo_sim.registry import named_families
from apo_sim.registry.choice import Choice, Registry, told_apart
from apo_sim.registry.named_families import Family


def _unrestricted(alpha: Any) -> Constant:
    return Constant(alpha, unrestricted=True)


LOSSES = Registry(
    "loss",
    {
        "dpo": DPO(),
        "ipo": IPO(),
        "sppo": SPPO(),
        "conservative_dpo": ConservativeDPO(),
        "robust_dpo": RobustDPO(),
        "slic": SLiC(),
    },
    Loss,
    "is not a loss",
    "an object such as apo_sim.DPO()",
)
# A rule, or a class or function that makes one of alpha.
MOMENTA = Registry(
    "momentum",
    {
        "constant": Constant,
        "unrestricted": _unrestricted,
        "none": NoMomentum(),
        "nesterov": Nesterov(),
        "averaging": Averaging,
        "from_behaviour": FromBehaviour,
    },
    Momentum,
    "is not a momentum rule",
    "an object such as apo_sim.Constant(0.3)",
)
RANKERS = Registry(
    "ranker",
    {"pairwise": Pairwise(), "best_against_worst": BestAgainstWorst()},
    Ranker,
    "is not a ranker",
    "an object such as apo_sim.BestAgainstWorst(5)",
)
GEOMETRIES = Registry(
    "geometry",
    geometry.NAMED,
    Geometry,
    "is not a geometry",
    "an object such as apo_sim.geometry.KL()",
)
# A method with its own settings, or the class that makes one of the settings of a sweep.
METHODS = Registry(
    "method",
    {
        "proximal": Proximal,
        "npg": NPG(),
        "policy_gradient": PolicyGradient(),
        "ppo": PPO(),
        "rebel": REBEL(),
        "rlhf": RLHF(),
        "mdvi": MDVI(),
        "xpo": XPO(),
        "chipo": ChiPO(),
        "simpo": SimPO(),
        "kto": KTO(),
        "dno": DNO(),
        "nash_md": NashMD(),
        "inpo": INPO(),
        "magnetic_md": MagneticMD(),
        "egpo": EGPO(),
        "optimistic_md": OptimisticMD(),
    },
    Method,
    "is not a method",
    "an object such as apo_sim.methods.Proximal(beta=1.0)",
)
FAMILIES = Registry(
    "family",
    named_families.NAMED,
    Callable,
    "is not a problem family",
    "a function family(key, contexts, arms, **parameters)",
)


def made_of_settings(method: Choice) -> bool:
    """Whether a method is made of the settings of a sweep, its loss, rule and beta among them.

    Example:
        >>> made_of_settings(METHODS.chosen("proximal")), made_of_settings(METHODS.chosen("npg"))
        (True, False)
    """
    return isinstance(method.content, type)


def takes_alpha(rule: Choice) -> bool:
    """Whether a rule was chosen by a name that leaves its extrapolation open.

    Example:
        >>> takes_alpha(MOMENTA.chosen("averaging")), takes_alpha(MOMENTA.chosen(Constant(0.3)))
        (True, False)
    """
    return MOMENTA.named.get(rule.identity) is rule.content and callable(rule.content)


def rule_of(rule: Choice, alpha: Any) -> Momentum:
    """The momentum rule that was chosen, at an extrapolation.

    Args:
        rule: of `MOMENTA`.
        alpha: extrapolation, for a rule chosen by name; one that is an object has its own.

    Example:
        >>> rule_of(MOMENTA.chosen("constant"), 0.3)
        Constant(alpha=0.3, unrestricted=False)
    """
    return rule.content(alpha) if takes_alpha(rule) else rule.content


__all__ = [
    "FAMILIES",
    "GEOMETRIES",
    "LOSSES",
    "METHODS",
    "MOMENTA",
    "RANKERS",
    "Choice",
    "Family",
    "Registry",
    "made_of_settings",
    "rule_of",
    "takes_alpha",
    "told_apart",
]
