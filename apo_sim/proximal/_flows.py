"""Linear systems of flows between arms: what each gains moves it, and is drawn on by its rivals."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float

from apo_sim.proximal.forces import over_rivals

Scores = Float[Array, "arms batch"]


class Flows(NamedTuple):
    """sum_i rate_ij (x_j - x_i) = force_j for every free arm j, the others being where they are.

    Attributes:
        rate: how strongly arm j is drawn to arm i, in the unit of arm j; the diagonal is zero.
        diagonal: how strongly arm j is drawn to all others.
        force: the right-hand side, in the unit of arm j.
        fixed: where the arms are that are not free.
        free: which arms are to be found.
        unit: of every arm; rate[i, j] / unit[j] is symmetric.
    """

    rate: Float[Array, "arms arms batch"]
    diagonal: Scores
    force: Scores
    fixed: Scores
    free: Bool[Array, "arms batch"]
    unit: Scores

    def times(self, x: Scores) -> Scores:
        """The left-hand side at x."""
        return self.diagonal * x - over_rivals(self.rate, x)

    def only(self, wanted: Bool[Array, " batch"]) -> "Flows":
        """The same, with nothing to be found in the problems that are not wanted."""
        return self._replace(free=self.free & wanted)
