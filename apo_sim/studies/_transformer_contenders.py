"""Who takes part in the study of a transformer with power, and who is held against whom."""

from dataclasses import dataclass
from typing import Any

from apo_sim import theory
from apo_sim.losses import DPO, KTO
from apo_sim.momentum import Constant, Momentum, NoMomentum

# Of h = beta log pi(y | x) / |y|, as its authors have it; others have the study's beta.
SIMPO_BETA = 2.0
EXPO = 0.3


@dataclass(frozen=True)
class Contender:
    """One method.

    Attributes:
        loss: DPO, KTO or SimPO.
        alpha: extrapolation after every iteration.
        matched: plain iteration at the matched beta of this alpha.
        longer: plain iteration at DPO's learning rate over one less this alpha.
        as_far: plain iteration at the learning rate with which it goes as far from the reference,
            in KL, as this contender does with its own.
        beyond: what counts is where ExPO leads from pi_hat_T.
    """

    loss: str = "DPO"
    alpha: float = 0.0
    matched: float = 0.0
    longer: float = 0.0
    as_far: str = ""
    beyond: bool = False

    def method(self, beta: float, iterations: int) -> dict[str, Any]:
        """Loss, momentum, proximal weights and ExPO, as `apo_sim.llm.fine_tune` takes them.

        Example:
            >>> found = Contender(matched=0.3).method(0.1, 3)
            >>> [round(weight, 4) for weight in found["beta"]]
            [0.1, 0.0769, 0.0719]
        """
        from apo_sim import llm

        losses = {"DPO": DPO(), "KTO": KTO(), "SimPO": llm.simpo()}
        weights = [SIMPO_BETA if self.loss == "SimPO" else beta] * iterations
        if self.matched:
            weights = [float(b) for b in theory.matched_beta(self.matched, beta, iterations)]
        return {
            "loss": losses[self.loss],
            "momentum": self.momentum,
            "beta": weights,
            "expo": EXPO if self.plain else 0.0,
        }

    @property
    def momentum(self) -> Momentum:
        """The rule."""
        return Constant(self.alpha) if self.alpha else NoMomentum()

    @property
    def searched(self) -> bool:
        """Whether its learning rate is its own choice, and not that of others."""
        return not self.longer and not self.as_far

    @property
    def plain(self) -> bool:
        """Whether its runs are those of plain DPO, which are run once for DPO and ExPO."""
        return self.loss == "DPO" and not self.alpha and not self.matched

    @property
    def runs(self) -> str:
        """What tells its runs from those of others, at the same learning rate.

        Example:
            >>> Contender(longer=0.3).runs == Contender(beyond=True).runs == "DPO"
            True
        """
        kinds = {"momentum": self.alpha, "matched": self.matched}
        return "-".join(
            [self.loss, *(f"{name}-{value:g}" for name, value in kinds.items() if value)]
        )


CONTENDERS = {
    "DPO": Contender(),
    "APO .3": Contender(alpha=0.3),
    "APO .9": Contender(alpha=0.9),
    "matched β .3": Contender(matched=0.3),
    "matched β .9": Contender(matched=0.9),
    "longer .3": Contender(longer=0.3),
    "longer .9": Contender(longer=0.9),
    "as far as .3": Contender(as_far="APO .3"),
    "as far as .9": Contender(as_far="APO .9"),
    "ExPO": Contender(beyond=True),
    "KTO": Contender(loss="KTO"),
    "SimPO": Contender(loss="SimPO"),
}
# Intervals are corrected for how many there are. All were fixed before the first run, but for those
# who go as far: they came after the search, and before its winners were compared.
COMPARISONS = (
    ("APO .3", "DPO"),
    ("APO .9", "DPO"),
    ("APO .3", "matched β .3"),
    ("APO .9", "matched β .9"),
    ("APO .3", "longer .3"),
    ("APO .9", "longer .9"),
    ("APO .3", "as far as .3"),
    ("APO .9", "as far as .9"),
    ("ExPO", "DPO"),
    ("KTO", "DPO"),
    ("SimPO", "DPO"),
)
