"""Sampled APO in PyTorch, vectorised over problems: batched counts, batched Newton."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Draw = Callable[[Tensor, int], Tensor]

BATCHES = (8, 32, 250)
"""Problems side by side: many hide the interpreter, few stay in the cache; the best is chosen."""


def counts_by_index(cells: Tensor, samples: int) -> Tensor:
    """Draw every pair on its own and count: `torch.multinomial`."""
    drawn = torch.multinomial(cells, samples, replacement=True)
    ones = torch.ones_like(drawn, dtype=cells.dtype)
    return torch.zeros_like(cells).scatter_add_(1, drawn, ones)


def counts_by_binomials(cells: Tensor, samples: int) -> Tensor:
    """One binomial a cell, given what the cells before it have left."""
    rest = cells.flip(1).cumsum(1).flip(1)
    # One row a cell, so that every draw reads and writes adjacent memory.
    share = torch.where(rest > 0, cells / rest, 1.0).clamp_(0.0, 1.0).T.contiguous()
    left = torch.full_like(share[0], float(samples))
    counts = torch.empty_like(share)
    for cell, probability in enumerate(share):
        counts[cell] = torch.binomial(left, probability)
        left -= counts[cell]
    return counts.T


DRAWS: dict[str, Draw] = {"binomials": counts_by_binomials, "multinomial": counts_by_index}


@dataclass(frozen=True)
class Problem:
    """What is asked of a policy; problems come first, arms last.

    Args:
        log_ref: the reference, shape (arms,).
        cells: from policies, shape (problems, arms), to the law of (winner, loser), shape
            (problems, arms, arms).
        gap: from policies to how far they are from the best one, shape (problems,).
        smoothing: the share of every count that is turned over before the fit, as conservative
            DPO has it.
    """

    log_ref: Tensor
    cells: Callable[[Tensor], Tensor]
    gap: Callable[[Tensor], Tensor]
    smoothing: float = 0.0


def bandit(reward: Tensor, log_ref: Tensor, cells: Callable[[Tensor], Tensor] | None = None):
    """A bandit: pairs of two independent responses, unless other cells are given."""
    preference = torch.sigmoid(reward[:, None] - reward[None, :])
    regret = reward.max() - reward
    return Problem(log_ref, cells or pairwise(preference), lambda policy: policy @ regret)


def pairwise(preference: Tensor) -> Callable[[Tensor], Tensor]:
    """Two independent responses; a pair can be drawn in two orders."""
    return lambda policy: 2.0 * policy[:, :, None] * policy[:, None, :] * preference


def best_against_worst(reward: Tensor, responses: int) -> Callable[[Tensor], Tensor]:
    """The best of some responses against the worst, where all rewards differ."""
    order = reward.argsort()
    rank = order.argsort()
    above = rank[:, None] > rank[None, :]

    def cells(policy: Tensor) -> Tensor:
        upto = policy[:, order].cumsum(1)[:, rank]
        below = (upto - policy).clamp_(min=0.0)

        def within(high: Tensor, low: Tensor) -> Tensor:
            return (high[:, :, None] - low[:, None, :]).clamp_(min=0.0) ** responses

        both = within(upto, below) - within(below, below) - within(upto, upto)
        both = (both + within(below, upto)).clamp_(min=0.0)
        return torch.where(above, both, torch.diag_embed(policy**responses))

    return cells


def game(preference: Tensor, log_ref: Tensor) -> Problem:
    """A game; its gap is by how much the best response wins more than half."""
    lead = preference - 0.5
    return Problem(log_ref, pairwise(preference), lambda policy: (policy @ lead.T).amax(1))


def draw_wins(draw: Draw, cells: Tensor, samples: int) -> Tensor:
    """Win counts, shape (problems, arms, arms), zero on the diagonal.

    Ties of an arm with itself say nothing, so all of them share one cell.
    """
    problems, arms = cells.shape[:2]
    ties = cells.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
    # Off the diagonal: drop the first entry, cut into rows of arms + 1, drop the last column.
    flat = cells.flatten(1)
    informative = flat[:, 1:].view(problems, arms - 1, arms + 1)[:, :, :arms].flatten(1)
    drawn = draw(torch.cat([ties, informative], 1), samples)[:, 1:]
    wins = torch.zeros_like(flat)
    wins[:, 1:].view(problems, arms - 1, arms + 1)[:, :, :arms] = drawn.reshape(
        problems, arms - 1, arms
    )
    return wins.view(problems, arms, arms)


def rewards_from_wins(wins: Tensor, start: Tensor, bound: float, tolerance: float) -> Tensor:
    """Bradley-Terry scores in the box [-bound, bound]: projected Newton on all problems at once."""
    met = wins + wins.mT
    won = wins.sum(2)
    # The likelihood does not see a common shift; this term only holds it in place.
    hold = met.mean((1, 2), keepdim=True)
    rewards = start.clamp(-bound, bound)
    for _ in range(100):
        win_prob = torch.sigmoid(rewards[:, :, None] - rewards[:, None, :])
        weighted = met * win_prob
        slope = weighted.sum(2) - won
        curvature = torch.addcmul(weighted, weighted, win_prob, value=-1.0)
        matrix = hold - curvature
        matrix.diagonal(dim1=1, dim2=2).add_(curvature.sum(2) + 1e-12)
        if rewards.abs().max() >= bound:
            stuck = ((rewards >= bound) & (slope < 0)) | ((rewards <= -bound) & (slope > 0))
            matrix -= torch.where(stuck.any(1)[:, None, None], hold, 0.0)
            matrix.masked_fill_(stuck[:, :, None] | stuck[:, None, :], 0.0)
            matrix.diagonal(dim1=1, dim2=2).add_(stuck)
            slope.masked_fill_(stuck, 0.0)
        step = torch.linalg.solve(matrix, slope).clamp_(-2.0, 2.0)
        new = (rewards - step).clamp_(-bound, bound)
        moved = (new - rewards).abs().max()
        rewards = new
        if moved <= tolerance:
            break
    return rewards


@torch.inference_mode()
def sampled(
    problem: Problem,
    draw: Draw,
    tolerance: float,
    *,
    alpha: float,
    beta: float,
    iterations: int,
    samples: int,
    reward_bound: float,
    seeds: int,
    batch: int,
) -> Tensor:
    """Gap of pi_hat_T for every seed, so many at a time."""
    sizes = [min(batch, seeds - done) for done in range(0, seeds, batch)]
    settings = (alpha, beta, iterations, samples, reward_bound)
    return torch.cat([_side_by_side(problem, draw, tolerance, *settings, n) for n in sizes])


def _side_by_side(
    problem: Problem,
    draw: Draw,
    tolerance: float,
    alpha: float,
    beta: float,
    iterations: int,
    samples: int,
    reward_bound: float,
    seeds: int,
) -> Tensor:
    """Each solve starts from the scores before it."""
    old = centre = log_policy = problem.log_ref.expand(seeds, -1)
    scores = torch.zeros_like(old)
    for _ in range(iterations):
        wins = draw_wins(draw, problem.cells(centre.exp()), samples)
        wins = torch.lerp(wins, wins.mT, problem.smoothing) if problem.smoothing else wins
        scores = rewards_from_wins(wins, scores, reward_bound, tolerance)
        log_policy = torch.log_softmax(centre + scores / beta, 1)
        centre = torch.log_softmax(log_policy + alpha * (log_policy - old), 1)
        old = log_policy
    return problem.gap(log_policy.exp())
