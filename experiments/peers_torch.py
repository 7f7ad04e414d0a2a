"""Sampled APO in PyTorch, vectorised over problems: batched counts, batched Newton."""

from collections.abc import Callable

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


def draw_wins(draw: Draw, log_policy: Tensor, preference: Tensor, samples: int) -> Tensor:
    """Win counts, shape (problems, arms, arms), zero on the diagonal.

    Ties of an arm with itself say nothing, so all of them share one cell.
    """
    problems, arms = log_policy.shape
    policy = log_policy.exp()
    cells = (2.0 * policy[:, :, None] * policy[:, None, :] * preference).flatten(1)
    # Off the diagonal: drop the first entry, cut into rows of arms + 1, drop the last column.
    informative = cells[:, 1:].view(problems, arms - 1, arms + 1)[:, :, :arms].flatten(1)
    ties = policy.square().sum(1, keepdim=True)
    drawn = draw(torch.cat([ties, informative], 1), samples)[:, 1:]
    wins = torch.zeros_like(cells)
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
    draw: Draw,
    tolerance: float,
    reward: Tensor,
    log_ref: Tensor,
    *,
    alpha: float,
    beta: float,
    iterations: int,
    samples: int,
    reward_bound: float,
    seeds: int,
    batch: int,
) -> Tensor:
    """Suboptimality of pi_hat_T for every seed; each solve starts from the scores before it."""
    if seeds > batch:
        parts = [min(batch, seeds - done) for done in range(0, seeds, batch)]
        shared = {"alpha": alpha, "beta": beta, "reward_bound": reward_bound}
        sizes = {"iterations": iterations, "samples": samples}
        return torch.cat(
            [
                sampled(draw, tolerance, reward, log_ref, **shared, **sizes, seeds=n, batch=n)
                for n in parts
            ]
        )
    preference = torch.sigmoid(reward[:, None] - reward[None, :])
    regret = reward.max() - reward
    old = centre = log_ref.expand(seeds, -1)
    scores = torch.zeros_like(old)
    gap = torch.empty(iterations, seeds, dtype=reward.dtype)
    for t in range(iterations):
        wins = draw_wins(draw, centre, preference, samples)
        scores = rewards_from_wins(wins, scores, reward_bound, tolerance)
        log_policy = torch.log_softmax(centre + scores / beta, 1)
        gap[t] = log_policy.exp() @ regret
        centre = torch.log_softmax(log_policy + alpha * (log_policy - old), 1)
        old = log_policy
    return gap[-1]
