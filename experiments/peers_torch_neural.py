"""The ring training in PyTorch: autograd, `torch.optim.AdamW`, one seed or many side by side.

Arrays of policies have shape (seeds, arms).
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from apo_sim.studies.ring_protocol import Protocol

Parameters = list[Tensor]
Forward = Callable[[Parameters, Tensor], Tensor]


def network(parameters: Parameters, actions: Tensor) -> Tensor:
    """Logits of one network, shape (arms,)."""
    weight, bias, head = parameters
    return F.linear(F.relu(F.linear(actions, weight, bias)), head)[:, 0]


def alone(parameters: Parameters, actions: Tensor) -> Tensor:
    return network(parameters, actions)[None]


side_by_side: Forward = torch.func.vmap(network, in_dims=(0, None))


def new_parameters(width: int, like: Tensor) -> Parameters:
    """He's normal where a ReLU follows, biases of zero; the last layer has none."""
    weight, bias, head = (like.new_zeros(shape) for shape in ((width, 2), (width,), (1, width)))
    torch.nn.init.kaiming_normal_(weight)
    torch.nn.init.normal_(head, std=width**-0.5)
    return [weight, bias, head]


def draw_pairs(log_policy: Tensor, reward: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Winners and losers of so many Bradley-Terry comparisons, each of shape (seeds, samples)."""
    drawn = torch.multinomial(log_policy.exp(), 2 * samples, replacement=True)
    first, second = drawn.chunk(2, dim=1)
    chance = torch.sigmoid(reward[first] - reward[second])
    wins = torch.rand_like(chance) < chance
    return torch.where(wins, first, second), torch.where(wins, second, first)


def all_pairs(log_policy: Tensor, reward: Tensor) -> tuple[Tensor]:
    """The probability of every (winner, loser), shape (seeds, arms, arms)."""
    policy = log_policy.exp()
    preference = torch.sigmoid(reward[:, None] - reward[None, :])
    # A pair can be drawn in two orders.
    return (2.0 * policy[:, :, None] * policy[:, None, :] * preference,)


def objective(
    forward: Forward,
    parameters: Parameters,
    actions: Tensor,
    centre: Tensor,
    data: tuple[Tensor, ...],
    beta: float,
) -> Tensor:
    """The DPO loss of pairs, or of the probabilities of all; a sum over seeds, which do not mix."""
    scores = beta * (torch.log_softmax(forward(parameters, actions), 1) - centre)
    if len(data) == 1:
        lead = scores[:, :, None] - scores[:, None, :]
        return -(data[0] * F.logsigmoid(lead)).sum()
    winner, loser = data
    lead = scores.gather(1, winner) - scores.gather(1, loser)
    return -F.logsigmoid(lead).mean(1).sum()


@functools.cache
def compiled_objective() -> Callable[..., Tensor]:
    return torch.compile(objective)


def new_optimizer(parameters: Parameters, protocol: Protocol) -> torch.optim.Optimizer:
    rate = protocol.learning_rate
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0, fused=True)


def inner_steps(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor], steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def train(
    actions: Tensor,
    reward: Tensor,
    protocol: Protocol,
    *,
    alpha: float,
    beta: float,
    iterations: int,
    seeds: int,
    seed: int = 0,
    compiled: bool = False,
) -> Tensor:
    """Gaps of pi_hat and of pi, shape (2, seeds, iterations); many seeds run side by side."""
    torch.manual_seed(seed)
    networks = [new_parameters(protocol.width, actions) for _ in range(seeds)]
    forward = alone if seeds == 1 else side_by_side
    parameters = (
        networks[0] if seeds == 1 else [torch.stack(parts) for parts in zip(*networks, strict=True)]
    )
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = new_optimizer(parameters, protocol)
    loss: Any = compiled_objective() if compiled else objective
    regret = reward.max() - reward
    gaps = reward.new_empty(2, seeds, iterations)

    @torch.no_grad()
    def log_policy() -> Tensor:
        return torch.log_softmax(forward(parameters, actions), 1)

    centre = log_policy()
    before = [parameter.detach().clone() for parameter in parameters]
    for t in range(iterations):
        data = (
            all_pairs(centre, reward)
            if protocol.samples is None
            else draw_pairs(centre, reward, protocol.samples)
        )
        inner_steps(
            optimizer,
            lambda: loss(forward, parameters, actions, centre, data, beta),  # noqa: B023
            protocol.steps,
        )
        gaps[0, :, t] = log_policy().exp() @ regret
        before = extrapolate(parameters, before, alpha)
        centre = log_policy()
        gaps[1, :, t] = centre.exp() @ regret
    return gaps.cpu()


@torch.no_grad()
def extrapolate(parameters: Parameters, before: Parameters, alpha: float) -> Parameters:
    """theta += alpha (theta - theta of the last time), in place; returns theta as it was."""
    trained = [parameter.clone() for parameter in parameters]
    for parameter, new, old in zip(parameters, trained, before, strict=True):
        parameter.add_(new - old, alpha=alpha)
    return trained
