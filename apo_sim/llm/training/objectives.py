"""What a proximal step of a transformer minimises: a loss, and what of a text its scores are."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from apo_sim.checks import NON_NEGATIVE, POSITIVE, as_flag
from apo_sim.conformance.inputs import Inputs
from apo_sim.conformance.recipe import Recipe
from apo_sim.errors import InvalidArgument, UnknownName
from apo_sim.geometry import KL, Geometry, MixedChiSquare
from apo_sim.geometry.bregman import GEOMETRY
from apo_sim.llm.data.batches import Batch
from apo_sim.losses import DPO, IPO, KTO, Extra, Loss, PointwiseLoss, is_pointwise
from apo_sim.losses.loss import as_loss, as_pointwise
from apo_sim.methods.simpo import WithMargin
from apo_sim.pytree import pytree_dataclass, static
from apo_sim.self_checking import checks_itself


@pytree_dataclass
class Objective:
    """A loss of the library on scores of whole texts, h = beta f(l).

    l(y) = log pi(y | x) - log pi_t(y | x) is that of a whole response, the sum over its tokens, and
    f is the geometry's link, for KL the identity. The fields say what else h may be.

    Args:
        loss: of pairs, or of single labelled responses. The latter sees the winner of a pair as
            desirable and the loser as not; its anchor is the mean h of responses to other prompts
            in the same part of a batch, so that small parts bias it.
        geometry: the link; one whose score is a function of l alone.
        per_token: l is the mean over the response's tokens. What the loss measures h against (tau,
            a margin) is then a number for each token, and never that of the sum.
        reference: without it, l = log pi(y | x).
        bonus: alpha of XPO, which adds alpha log pi of the response that the reference policy gave
            to every pair: it is minimised, so that probability leaves what is known. One response
            of each pair is drawn from the reference policy then. None: both are the policy's.
        anchored: l is relative to the reference policy in all iterations, and the pairs of all
            iterations so far are fitted. Momentum then changes only where a step begins and who
            collects the next data.

    Raises:
        InvalidArgument: no loss; a geometry that needs more than l, or has no meaning for it; no
            flag; a bonus below 0, or of a loss of single responses.

    Example:
        >>> Objective(IPO(0.1), per_token=True) == ipo_per_token(0.1)
        True
    """

    loss: Loss | PointwiseLoss = DPO()
    geometry: Geometry = KL()
    per_token: bool = static(default=False)
    reference: bool = static(default=True)
    bonus: float | None = None
    anchored: bool = static(default=False)

    def __post_init__(self) -> None:
        (as_pointwise if is_pointwise(self.loss) else as_loss)("loss", self.loss)
        _check_geometry(self.geometry)
        for name in ("per_token", "reference", "anchored"):
            as_flag(name, getattr(self, name))
        plain = self.reference and not self.per_token
        if not plain and not isinstance(self.geometry, KL):
            raise InvalidArgument(
                "geometry",
                self.geometry,
                "is a function of pi(y) / pi_t(y), which the scores asked for are not made of",
                "pass KL() where per_token or reference are changed",
            )
        if self.bonus is not None:
            NON_NEGATIVE.one()("bonus", self.bonus)
            if self.needs_others:
                raise InvalidArgument(
                    "bonus", self.bonus, "is added to pairs", "pass a loss of pairs, as DPO()"
                )

    @property
    def explores(self) -> bool:
        """Whether one response of each pair is the reference policy's."""
        return self.bonus is not None

    @property
    def needs_others(self) -> bool:
        """Whether pairs have to bring a response to another prompt."""
        return is_pointwise(self.loss)

    def values(
        self, log_probs: Float[Array, "pairs sides"], batch: Batch
    ) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"]]:
        """The objective of each pair, and the lead of its winner's score, each of shape (B,).

        Args:
            log_probs: log pi of winner, loser and, where needed, a response to another prompt.
            batch: the pairs.
        """
        lengths = jnp.sum(jnp.asarray(batch.mask)[:, :, -batch.responses :], axis=-1)
        if self.needs_others:
            weight = batch.weight / jnp.maximum(jnp.sum(batch.weight), jnp.finfo(jnp.float32).tiny)
            others = self._mean_score(log_probs[:, 2] - batch.reference[:, 2], lengths[:, 2])
            apart = jnp.broadcast_to(jnp.sum(weight * others), weight.shape)
        else:
            apart = jnp.zeros_like(log_probs[:, 0])
        inputs = Inputs(
            policy_chosen=log_probs[:, 0],
            policy_rejected=log_probs[:, 1],
            ref_chosen=batch.reference[:, 0],
            ref_rejected=batch.reference[:, 1],
            # Rows that fill up a batch hold no response.
            chosen_lengths=jnp.maximum(lengths[:, 0], 1),
            rejected_lengths=jnp.maximum(lengths[:, 1], 1),
            policy_kl=apart,
            ref_kl=jnp.zeros_like(apart),
            log_normalizer=batch.log_normalizer,
            chosen_from_ref=batch.winner_from_reference,
        )
        recipe = Recipe(
            self.loss,
            batch.beta,
            reference=self.reference,
            mean=self.per_token,
            link=None if isinstance(self.geometry, KL) else self.geometry,  # type: ignore[arg-type]
            bonus=0.0 if self.bonus is None else float(self.bonus),
            log_normalizer=None,
        )
        leading = dataclasses.replace(recipe, loss=_lead, bonus=0.0)
        return recipe(inputs), leading(inputs)

    def _mean_score(self, log_ratio: Array, lengths: Array) -> Array:
        """What the anchor is the mean of, over beta."""
        scores = self.geometry.score_of_ratio(log_ratio)  # type: ignore[attr-defined]
        return scores / jnp.maximum(lengths, 1) if self.per_token else scores


@pytree_dataclass
class ClippedDPO:
    """-log sigmoid of h_winner - h_loser, clipped to [-bound, bound]: beyond, nothing pulls.

    Args:
        bound: above 0.

    Raises:
        InvalidArgument: a bound that is not positive and finite.

    Source: Huang et al. (2024), algorithm 1, where the bound is 2 R.

    Example:
        >>> loss = ClippedDPO(2.0)
        >>> float(loss(jnp.array(5.0), jnp.array(0.0), Extra())) == float(
        ...     DPO()(jnp.array(2.0), jnp.array(0.0), Extra())
        ... )
        True
    """

    bound: float | Float[Array, ""] = 4.0

    def __post_init__(self) -> None:
        POSITIVE.one()("bound", self.bound)

    def __call__(
        self, h_winner: Float[Array, "..."], h_loser: Float[Array, "..."], extra: Extra
    ) -> Float[Array, "..."]:
        apart = jnp.clip(h_winner - h_loser, -self.bound, self.bound)
        return DPO()(apart, jnp.zeros_like(apart), extra)


def ipo_per_token(tau: float = 1.0) -> Objective:
    """IPO on means over tokens, as some tools have it; its tau is not that of the sum.

    Example:
        >>> ipo_per_token(0.1).per_token, Objective(IPO(0.1)).per_token
        (True, False)
    """
    return Objective(IPO(tau), per_token=True)


def simpo(margin: float = 1.0) -> Objective:
    """SimPO: -log sigmoid(h_winner - h_loser - margin), h = beta log pi(y | x) / |y|.

    The proximal centre is where a step begins, and who collects the data; it is no part of the
    loss. The authors' beta is about 2, and their margin .2 to 1.6.

    Args:
        margin: gamma, at least 0, on the scale of h.

    Source: Meng, Xia and Chen (2024), equation (6).

    Example:
        >>> simpo().reference
        False
    """
    NON_NEGATIVE.one()("margin", margin)
    return Objective(WithMargin(margin), per_token=True, reference=False)


def chipo(reward_bound: float = 2.0) -> Objective:
    """chi-PO: DPO with the link f(z) = z + log z, z = pi / pi_ref, and its difference clipped.

    Args:
        reward_bound: R above 0; differences are clipped to [-2 R, 2 R].

    Source: Huang et al. (2024), algorithm 1; offline data are those of one iteration.

    Example:
        >>> chipo(1.0).loss
        ClippedDPO(bound=2.0)
    """
    POSITIVE.one()("reward_bound", reward_bound)
    return Objective(ClippedDPO(2.0 * reward_bound), MixedChiSquare(), anchored=True)


def xpo(alpha: float = 0.01) -> Objective:
    """XPO: DPO on all pairs so far, plus alpha log pi(y~ | x), y~ the reference's response.

    Args:
        alpha: weight of the bonus, at least 0; with 0 it is DPO on such pairs.

    Source: Xie et al. (2024), algorithm 1.

    Example:
        >>> xpo(0.0).explores, Objective().explores
        (True, False)
    """
    return Objective(DPO(), bonus=alpha, anchored=True)


# By name, as set above; beside them, the losses of `apo_sim.registry.LOSSES` have theirs.
NAMED: dict[str, Callable[[], Objective]] = {
    "ipo_per_token": ipo_per_token,
    "kto": lambda: Objective(KTO()),
    "simpo": simpo,
    "chipo": chipo,
    "xpo": xpo,
}


def named(name: Any, losses: Any = ()) -> Objective | Loss:
    """An objective by its name, or one of some losses by its own.

    Args:
        name: one of `NAMED`, or of the losses.
        losses: losses of pairs by name, such as `apo_sim.registry.LOSSES`.

    Raises:
        InvalidArgument: a name that is unknown.

    Example:
        >>> named("simpo") == simpo()
        True
    """
    if isinstance(name, str) and name in NAMED:
        return NAMED[name]()
    if isinstance(name, str) and name in losses:
        return losses[name]
    raise UnknownName("loss", name, (*losses, *NAMED))


@checks_itself
def as_objective(loss: Any, geometry: Any = KL()) -> Objective:
    """A loss with its geometry as an objective; an objective as it is.

    Raises:
        InvalidArgument: what `Objective` says; a geometry beside an objective, which has its own.

    Example:
        >>> as_objective(DPO()) == Objective()
        True
    """
    if not isinstance(loss, Objective):
        return Objective(loss, geometry)
    _check_geometry(geometry)
    if not isinstance(geometry, KL):
        raise InvalidArgument(
            "geometry",
            geometry,
            "would not be used: the objective has its own",
            "pass Objective(..., geometry=...)",
        )
    return loss


def _check_geometry(geometry: Any) -> None:
    """Refuse geometries whose scores cannot be had from the probabilities of the responses at hand.

    The normaliser of all others runs over all responses.
    """
    GEOMETRY("geometry", geometry)
    if not geometry.of_log_ratio:
        raise InvalidArgument(
            "geometry",
            geometry,
            "needs more than log(policy / proximal centre) of a response, and the probability of "
            "a text is too small to be a coordinate by itself",
            "pass KL(), ForwardKL(), JensenShannon(), AlphaDivergence(0.5) or MixedChiSquare()",
        )


def _lead(h_winner: Array, h_loser: Array, extra: Extra) -> Array:
    """How far the winner's score is ahead."""
    del extra
    return h_winner - h_loser
