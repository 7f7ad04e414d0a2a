"""Preference pairs as arrays: prompts padded on the left, responses on the right."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from apo_sim.llm.data.preference_pairs import Preference, Tokens
from apo_sim.pytree import pytree_dataclass, static

# Lengths are rounded up to this, so that iterations share their programs.
_STEP = 16


@pytree_dataclass
class Batch:
    """Pairs of responses to the same prompts. B pairs, P tokens of prompt, R of response.

    There are S = 2 responses to each prompt; S = 3 where pairs bring a response to another one.

    Attributes:
        tokens: prompt and response, winner first, shape (B, S, P + R).
        mask: which of them are there, same shape.
        weight: of each pair in the mean, shape (B,); 0 for one that fills up the batch.
        log_normalizer: beta log Z, shape (B,).
        reference: log-probability of the responses under the proximal centre, shape (B, S).
        beta: proximal weight, shape (B,), the same in all rows.
        winner_from_reference: whether it was the winner that the reference policy gave, shape (B,).
        responses: R.
    """

    tokens: Any
    mask: Any
    weight: Any
    log_normalizer: Any
    reference: Any
    beta: Any
    winner_from_reference: Any
    responses: int = static()


def batches(
    pairs: Sequence[Preference],
    size: int,
    *,
    beta: float,
    padding: int,
    reference: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> Iterator[Batch]:
    """All pairs, so many at a time; the last batch is filled up with pairs of no weight.

    Args:
        pairs: at least one.
        size: pairs in a batch.
        beta: proximal weight.
        padding: token that fills up.
        reference: log-probabilities under the proximal centre, shape (pairs, S); None: zeros.
        order: in which the pairs come; None: as they are.

    Example:
        >>> pairs = [Preference((1,), (2, 9), (3, 9), weight=w) for w in (1.0, 3.0)]
        >>> (batch,) = batches(pairs, 4, beta=1.0, padding=0)
        >>> batch.tokens.shape, batch.weight.tolist()
        ((4, 2, 32), [1.0, 3.0, 0.0, 0.0])
    """
    asked = _rounded(max(len(pair.prompt) for pair in pairs))
    sides = 3 if all(pair.other for pair in pairs) else 2
    given = _rounded(max(len(r) for pair in pairs for r in _responses(pair)[:sides]))
    mean = float(np.mean([pair.weight for pair in pairs]))
    reference = np.zeros((len(pairs), sides)) if reference is None else reference
    order = np.arange(len(pairs)) if order is None else order
    for start in range(0, len(order), size):
        here = order[start : start + size]
        # A batch of few pairs weighs each as if it were full of them: a step is a mean.
        share = size / len(here) / mean
        tokens = np.full((size, sides, asked + given), padding, np.int32)
        mask = np.zeros(tokens.shape, bool)
        columns = np.zeros((2 + sides, size), np.float32)
        from_reference = np.zeros(size, bool)
        for row, place in enumerate(here):
            pair = pairs[place]
            for side, response in enumerate(_responses(pair)[:sides]):
                both = (*pair.prompt, *response)
                begin = asked - len(pair.prompt)
                tokens[row, side, begin : begin + len(both)] = both
                mask[row, side, begin : begin + len(both)] = True
            columns[:2, row] = share * pair.weight, pair.log_normalizer
            columns[2:, row] = reference[place]
            from_reference[row] = pair.winner_from_reference
        # Rows that fill up hold one token, so that nothing attends to nothing.
        tokens[len(here) :], mask[len(here) :, :, asked - 1] = tokens[0], True
        yield Batch(
            tokens=tokens,
            mask=mask,
            weight=columns[0],
            log_normalizer=columns[1],
            reference=columns[2:].T.copy(),
            beta=np.full(size, beta, np.float32),
            winner_from_reference=from_reference,
            responses=given,
        )


def _responses(pair: Preference) -> tuple[Tokens, Tokens, Tokens]:
    return pair.winner, pair.loser, pair.other


def _rounded(length: int) -> int:
    return -(-length // _STEP) * _STEP
