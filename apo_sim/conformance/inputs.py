"""What a loss of preference pairs is asked about: random log-probabilities, and their names."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

# Log-ratios of these sizes: small ones show curvature at 0, large ones a tail, a hinge or a link.
_SIZES = (0.3, 2.0, 8.0, 30.0, 200.0)

# The field of `Inputs` that an argument of a loss stands for; TRL's names, and older ones.
NAMES = {
    "policy_chosen_logps": "policy_chosen",
    "policy_rejected_logps": "policy_rejected",
    "ref_chosen_logps": "ref_chosen",
    "ref_rejected_logps": "ref_rejected",
    "reference_chosen_logps": "ref_chosen",
    "reference_rejected_logps": "ref_rejected",
    "chosen_lengths": "chosen_lengths",
    "rejected_lengths": "rejected_lengths",
    "policy_kl_logps": "policy_kl",
    "ref_kl_logps": "ref_kl",
    "policy_KL_logps": "policy_kl",
    "reference_KL_logps": "ref_kl",
    "log_normalizer": "log_normalizer",
    "chosen_from_ref": "chosen_from_ref",
}
POSITIONS = ("policy_chosen", "policy_rejected", "ref_chosen", "ref_rejected")
LENGTHS = ("chosen_lengths", "rejected_lengths")


@dataclass(frozen=True)
class Inputs:
    """Pairs of responses, one a row; arrays of any framework, of shape (rows,).

    Attributes:
        policy_chosen: log pi of the response that won, summed over its tokens.
        policy_rejected: the same of the one that lost.
        ref_chosen: log pi_ref of the response that won.
        ref_rejected: the same of the one that lost.
        chosen_lengths: tokens of the response that won, whole numbers.
        rejected_lengths: the same of the one that lost.
        policy_kl: log pi of a response to another prompt, for KTO's anchor.
        ref_kl: log pi_ref of it.
        log_normalizer: beta log Z of the prompt, for SPPO.
        chosen_from_ref: whether it was the winner that the reference policy gave, for XPO.
    """

    policy_chosen: Any
    policy_rejected: Any
    ref_chosen: Any
    ref_rejected: Any
    chosen_lengths: Any
    rejected_lengths: Any
    policy_kl: Any
    ref_kl: Any
    log_normalizer: Any
    chosen_from_ref: Any

    # With respect to which a loss is differentiated; the last is that of the anchor.
    variables: ClassVar[tuple[str, ...]] = ("policy_chosen", "policy_rejected", "policy_kl")

    def rows(self, index: Any) -> "Inputs":
        """Some of the rows."""
        fields = {f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self)}
        return Inputs(**fields)


def random_inputs(rows: int, seed: int) -> Inputs:
    """Log-probabilities of responses of 1 to 40 tokens, all of them below 0.

    Args:
        rows: how many pairs.
        seed: of the random numbers.

    Example:
        >>> inputs = random_inputs(8, seed=0)
        >>> bool((inputs.policy_chosen < 0).all() and (inputs.ref_rejected < 0).all())
        True
    """
    rng = np.random.default_rng(seed)
    size = np.resize(_SIZES, rows)
    policy, reference = zip(*(_two_policies(rng, size) for _ in range(3)), strict=True)
    return Inputs(
        *policy[:2],
        *reference[:2],
        chosen_lengths=rng.integers(1, 41, rows),
        rejected_lengths=rng.integers(1, 41, rows),
        policy_kl=policy[2],
        ref_kl=reference[2],
        log_normalizer=rng.uniform(0.1, 0.9, rows),
        chosen_from_ref=rng.random(rows) < 0.5,
    )


def _two_policies(rng: np.random.Generator, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log pi and log pi_ref, whose difference is of a given size."""
    ratio = size * rng.normal(size=size.shape)
    higher = -rng.uniform(0.5, 20.0, size.shape)
    return higher + np.minimum(ratio, 0.0), higher - np.maximum(ratio, 0.0)


def inputs_at(
    difference: np.ndarray, *, reference: bool, mean: bool, seed: int, rejected: float = 0.0
) -> Inputs:
    """Pairs of a given difference of scores, whatever else is drawn at random.

    Args:
        difference: score of the winner less that of the loser, shape (rows,).
        reference: whether a score is a log-ratio, or log pi alone.
        mean: whether it is a mean over the tokens.
        seed: of all the rest.
        rejected: score of the loser, where it is to be known; its own random number is added.

    Example:
        >>> at = inputs_at(np.array([2.0]), reference=True, mean=False, seed=0)
        >>> won, lost = at.policy_chosen - at.ref_chosen, at.policy_rejected - at.ref_rejected
        >>> float((won - lost)[0])
        2.0
    """
    base = random_inputs(len(difference), seed)
    rng = np.random.default_rng(seed)
    lost = rejected + rng.uniform(-1.0, 1.0, difference.shape)
    if not reference:  # a log-probability is below 0
        lost = lost - np.maximum(difference, 0.0) - 2.0
    won = lost + difference
    if mean:
        won, lost = won * base.chosen_lengths, lost * base.rejected_lengths
    if not reference:
        return dataclasses.replace(base, policy_chosen=won, policy_rejected=lost)
    # Both log-probabilities of a response stay below 0.
    deep = 1.0 + np.maximum(np.maximum(won, lost), 0.0)
    return dataclasses.replace(
        base,
        policy_chosen=won - deep,
        policy_rejected=lost - deep,
        ref_chosen=-deep,
        ref_rejected=-deep,
    )
