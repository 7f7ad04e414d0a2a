"""What advice is asked for: a run about to start, and the problems that it may meet."""

from dataclasses import dataclass

from apo_sim.registry import Choice


@dataclass(frozen=True)
class Setting:
    """A run about to start: N, T, beta, K, the size of its rewards and X."""

    samples: int
    iterations: int
    beta: float
    arms: int
    spread: float
    contexts: int


@dataclass(frozen=True)
class Draws:
    """A setting, and the problems of it: the first ones that a sweep of this seed meets.

    Attributes:
        setting: the run.
        family: of the problems.
        seed: of the draw.
        fixed: whether all of them are one problem, which the user has.
    """

    setting: Setting
    family: Choice
    seed: int = 0
    fixed: bool = False

    @property
    def parameters(self) -> dict[str, float]:
        """What the family takes beside its sizes: not every one has a spread.

        1 is what those that have it begin with.
        """
        spread = self.setting.spread
        return {} if spread == 1 or self.fixed else {"spread": spread}

    @property
    def name(self) -> str:
        """What readers see."""
        return "your problem" if self.fixed else f"the family {self.family.label}"
