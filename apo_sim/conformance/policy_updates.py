"""What update is this? A loss of the policy-gradient kind against Nash-MD, PPO and REBEL."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from apo_sim.conformance._calling import Call, Observed, observe
from apo_sim.conformance._sequence_draws import (
    FIELDS,
    Draws,
    Tables,
    mixture,
    pairs,
    singles,
    tables,
)
from apo_sim.conformance.naming import Difference
from apo_sim.errors import InvalidArgument

_REMEDY = (
    "let it take policy_logps by name, and any of old_logps, ref_logps, rewards and "
    "win_rates; or, to compare two responses, other_policy_logps, other_old_logps, other_rewards"
)
# Ratios at which a clipped loss is looked at, and how far apart they are in the end.
_RATIOS = np.linspace(0.02, 4.0, 400)
_FINE = 1e-6


@dataclass(frozen=True)
class Update:
    """What a loss does to a policy in expectation.

    Attributes:
        name: Nash-MD, PPO, policy gradient or REBEL; None if it is none of them.
        parameters: beta (weight of the KL divergence from the reference, where the reward has
            weight 1), mixture, clip, learning_rate.
        differences: from the method of that name as published, and from the settings.
        error: the largest relative difference of a force from the method's.
        rows: how many sequences, or pairs of them, were compared.
        framework: that the loss counts in.
    """

    name: str | None
    parameters: Mapping[str, float]
    differences: tuple[Difference, ...]
    error: float
    rows: int
    framework: str

    def __str__(self) -> str:
        given = ", ".join(f"{name} = {value:.6g}" for name, value in self.parameters.items())
        what = "no update that is known" if self.name is None else self.name
        line = f"This is {what}{f' with {given}' if given else ''}: {self.rows} sequences or pairs "
        line += f"enumerated, off by {self.error:.1g} ({self.framework})."
        return "\n".join([line, *(f"- {one.text}" for one in self.differences)])


def identify_update(
    loss: Any, opponent: Callable[..., Any] | None = None, **settings: Any
) -> Update:
    """Say what a loss does to a policy, by the gradient on every sequence of two tokens.

    The loss of a response y pulls log pi(y) by a force, minus its slope; what moves the policy in
    expectation is the force times the probability that y is drawn with. The force of the policy
    gradient is r - beta log(pi / pi_ref), of Nash-MD the same with the win rate against a mixture
    in the place of r, of PPO pi / pi_old times r or nothing, and REBEL's pulls two responses apart.

    Args:
        loss: a function in NumPy, JAX or PyTorch of what `Draws` has, by name; it returns a number
            for each response, without a mean over the batch or a normalised advantage. One that
            takes no `old_logps` is shown responses of the policy itself.
        opponent: whom `win_rates` are against: from the log-probabilities of the next token under
            policy and reference along every sequence, (prompts, sequences, tokens, words) each, to
            those of the rival, or to its log-probabilities of whole sequences, (prompts,
            sequences); None: the policy.
        **settings: what its parameters are meant to be, such as beta=0.1; they are passed to a loss
            that takes them by name.

    Raises:
        InvalidArgument: the loss cannot be called so, or its numbers are not finite.

    Source: ours; Munos et al. (2023), section 7; Schulman et al. (2017), equation (7); Gao et al.
        (2024), algorithm 1. That the loss of k3 has another gradient than its value suggests:
        Tang and Munos (2025).

    Example:
        >>> def mine(policy_logps, ref_logps, win_rates, beta=0.1):
        ...     import jax
        ...
        ...     stop = jax.lax.stop_gradient(beta * (policy_logps - ref_logps))
        ...     return (stop - win_rates) * policy_logps
        >>> def rivals(policy, ref):
        ...     return mixture(policy, ref, 0.25)
        >>> found = identify_update(mine, rivals, beta=0.1)
        >>> found.name, {name: round(value, 6) for name, value in found.parameters.items()}
        ('Nash-MD', {'beta': 0.1, 'mixture': 0.25})
        >>> [one.what for one in found.differences]
        ['tokens']
    """
    call = _bound(loss, settings)
    takes = call.takes
    if "other_policy_logps" in takes:
        asked = pairs(tables(0, on_policy=False))
        return _of_pairs(observe(call, asked, traced=True), settings)
    given = tables(0, on_policy="old_logps" not in takes)
    rival, rivals = _rivals(given, opponent)
    observed = observe(call, singles(given, rivals), traced=True)
    name, parameters, found, error = _of_singles(call, observed, rival)
    meant = list(_meant(parameters, settings, 1e3 * observed.tolerance)) if name else []
    return Update(
        name, parameters, (*found, *meant), error, len(observed.values), observed.framework
    )


def is_update(loss: Any) -> bool:
    """Whether a loss is of the kind that `identify_update` tells apart, by what it takes.

    Example:
        >>> is_update(lambda policy_logps, rewards: 0.0), is_update(lambda policy_chosen_logps: 0.0)
        (True, False)
    """
    try:
        takes = set(inspect.signature(loss).parameters)
    except (TypeError, ValueError):
        return False
    return "policy_logps" in takes and bool(takes & {"rewards", "win_rates"})


def _bound(loss: Any, settings: Mapping[str, Any]) -> Call:
    try:
        wanted = inspect.signature(loss).parameters
    except (TypeError, ValueError):
        raise InvalidArgument("loss", loss, "does not say what it takes", _REMEDY) from None
    given = {name: value for name, value in settings.items() if name in wanted}
    names = {name: name for name in wanted if name in FIELDS}
    rest = [
        one.name
        for one in wanted.values()
        if one.default is one.empty and one.name not in names and one.name not in given
    ]
    if "policy_logps" not in names or rest:
        what = f"takes different arguments ({', '.join(rest or wanted)})"
        raise InvalidArgument("loss", loss, what, _REMEDY)
    return Call(loss, names, (), given)


@dataclass(frozen=True)
class _Rival:
    """A mixture: its weight of the reference, and whether it is mixed token by token."""

    weight: float
    by_token: bool
    known: bool


def _rivals(given: Tables, opponent: Callable[..., Any] | None) -> tuple[_Rival, np.ndarray]:
    """What draws the rivals, and log-probabilities of theirs, (prompts, sequences)."""
    policy, ref = given.of_sequences(given.policy), given.of_sequences(given.ref)
    if opponent is None:
        return _Rival(0.0, False, True), policy
    found = np.asarray(opponent(given.policy, given.ref), dtype=float)
    by_token = found.shape == given.policy.shape
    if not by_token and found.shape != policy.shape:
        what = f"returns shape {found.shape}"
        remedy = f"let it return {given.policy.shape} or {policy.shape}"
        raise InvalidArgument("opponent", opponent, what, remedy)
    whole = given.of_sequences(found) if by_token else found
    # Mixed sequence by sequence, or token by token: the weight is a slope of log-ratios.
    weight = _slope(whole - policy, ref - policy)
    if np.allclose(mixture(policy, ref, weight), whole, atol=1e-6):
        return _Rival(weight, False, True), whole
    if by_token:
        weight = _slope(found - given.policy, given.ref - given.policy)
        if np.allclose(mixture(given.policy, given.ref, weight), found, atol=1e-6):
            return _Rival(weight, True, True), whole
    return _Rival(weight, by_token, False), whole


def _slope(values: np.ndarray, by: np.ndarray) -> float:
    """Least squares, with a constant of its own in each row of the last axis."""
    values, by = (one - one.mean(axis=-1, keepdims=True) for one in (values, by))
    return float(np.sum(values * by) / np.sum(by * by))


def _of_singles(
    call: Call, observed: Observed, rival: _Rival
) -> tuple[str | None, dict[str, float], list[Difference], float]:
    draws: Any = observed.inputs
    force = -observed.gradient[:, 0]
    if not np.abs(force).max() > 0.0:
        why = "no gradient comes through: what depends on the policy is detached"
        return None, {}, [Difference("detached", why)], np.inf
    game = "win_rates" in call.takes
    best = _nearest(draws, force, draws.win_rates if game else draws.rewards, call.takes)
    if best.error > 10 * observed.tolerance:
        return None, {}, [], best.error
    reward, kl, _ = map(float, best.weights)
    beta = -kl / reward if abs(kl) > 10 * observed.tolerance * abs(reward) else 0.0
    parameters = {"beta": beta} if "ref_logps" in call.takes else {}
    found = list(_of_weights(reward, beta, best, call))
    if game:
        parameters["mixture"] = rival.weight
        found += _of_rival(rival)
    name = "Nash-MD" if game else "policy gradient"
    if best.clipped:
        name, clip, differences = "PPO", *_clip(call, draws, observed.reach)
        parameters |= clip
        found += differences
    return name, parameters, found, best.error


@dataclass(frozen=True)
class _Fit:
    """Weights of reward, log-ratio and 1 in a force; how they are multiplied, and how far off."""

    weights: np.ndarray
    ratio: bool
    clipped: bool
    third: bool
    error: float


def _nearest(draws: Any, force: np.ndarray, reward: np.ndarray, takes: frozenset[str]) -> _Fit:
    """The plainest form that agrees, or else the nearest."""
    log_ratio = draws.policy_logps - draws.ref_logps
    if "ref_logps" not in takes:
        log_ratio = np.zeros_like(log_ratio)
    ratio = np.exp(draws.policy_logps - draws.old_logps)
    pulled = force != 0.0
    fits = []
    for clipped in (False, True) if not pulled.all() else (False,):
        kept = pulled if clipped else np.ones_like(pulled)
        for third in (False, True):
            kl = -np.expm1(-log_ratio) if third else log_ratio
            for weighted in (False, True):
                # A loss of the policy gradient may weigh its KL term by the ratio, or not.
                columns = np.stack([reward, kl, np.ones_like(kl)], axis=1)[kept]
                columns = columns * (ratio[kept, None] if weighted else 1.0)
                weights = np.linalg.lstsq(columns, force[kept])[0]
                error = _error(columns, weights, force[kept])
                fits.append(_Fit(weights, weighted, clipped, third, error))
    near = [fit for fit in fits if fit.error < 1e-5]
    return near[0] if near else min(fits, key=lambda fit: fit.error)


def _error(columns: np.ndarray, weights: np.ndarray, values: np.ndarray) -> float:
    """The largest difference of a fit, relative to the largest of its terms."""
    size = np.abs(columns * weights).max(axis=1)
    return float(np.max(np.abs(columns @ weights - values) / (size + 1e-3 * size.max() + 1e-300)))


def _of_weights(reward: float, beta: float, fit: _Fit, call: Call) -> Iterator[Difference]:
    if reward < 0:
        yield Difference("sign", "the update goes against the reward")
    if beta < 0:
        yield Difference("kl", "the sign of the KL term is wrong: the reference repels")
    if fit.third and beta:
        why = (
            "the KL term is k3 as a loss, whose expected gradient is that of KL(reference, policy)"
        )
        yield Difference("kl", why)
    if "old_logps" in call.by_name and not fit.ratio:
        yield Difference("ratio", "the importance ratio is missing or detached")


def _of_rival(rival: _Rival) -> Iterator[Difference]:
    if not rival.known:
        yield Difference("mixture", "the rival is not a geometric mixture of policy and reference")
    elif rival.weight == 0.0:
        yield Difference("mixture", "the mixture is missing: rivals are the policy's own responses")
    elif rival.by_token:
        yield Difference("tokens", "the mixture is taken token by token, not of whole sequences")


def _clip(call: Call, draws: Draws, reach: float) -> tuple[dict[str, float], list[Difference]]:
    """Where the ratio is clipped, from above and from below, and what is odd about that."""
    up, down = (_pulled(call, draws, sign, _RATIOS) for sign in (1.0, -1.0))
    high, low = _edge(call, draws, 1.0, up, reach), _edge(call, draws, -1.0, down, reach)
    found = []
    if not (up[0] and down[-1]):
        why = "a ratio that may only get better is clipped, too: the minimum is missing"
        found.append(Difference("clip", why))
    same = abs(high + low - 2.0) < 4 * _FINE
    return (
        {"clip": high - 1.0} if same else {"clip_low": 1.0 - low, "clip_high": high - 1.0}
    ), found


def _pulled(call: Call, draws: Draws, reward: float, ratios: np.ndarray) -> np.ndarray:
    """Whether there is a force on a response of this advantage, at each ratio."""
    one = draws.rows(np.zeros(len(ratios), int))
    old = np.asarray(one.old_logps)
    asked = Draws(
        **{name: getattr(one, name) for name in FIELDS}
        | {
            "policy_logps": old + np.log(ratios),
            "ref_logps": old + np.log(ratios),
            "rewards": np.full(len(ratios), reward),
        }
    )
    return observe(call, asked, traced=True).gradient[:, 0] != 0.0


def _edge(call: Call, draws: Draws, reward: float, pulled: np.ndarray, reach: float) -> float:
    """The ratio from which on nothing pulls that a response of this advantage would gain by."""
    ratios, way = _RATIOS, 1 if reward > 0 else -1
    while True:
        kept = np.flatnonzero(pulled)
        if not len(kept):
            return 1.0
        last = int(kept[-1] if way > 0 else kept[0])
        beyond = last + way
        if not 0 <= beyond < len(ratios):
            return float("inf") if way > 0 else 0.0
        ends = sorted((ratios[last], ratios[beyond]))
        if ends[1] - ends[0] < _FINE:
            # A difference feels the pull from as far away as it reaches.
            return float(np.mean(ends) * np.exp(-way * reach))
        ratios = np.linspace(ends[0], ends[1], 40)
        pulled = _pulled(call, draws, reward, ratios)


def _of_pairs(observed: Observed, settings: Mapping[str, Any]) -> Update:
    """REBEL: the slope of a pair is that of (lead - eta (r - r'))^2."""
    draws: Any = observed.inputs
    lead, old, gap = (
        getattr(draws, name) - getattr(draws, f"other_{name}")
        for name in ("policy_logps", "old_logps", "rewards")
    )
    columns = np.stack([lead, old, gap], axis=1)
    slope = observed.gradient[:, 0]
    weights = np.linalg.lstsq(columns, slope)[0]
    error = _error(columns, weights, slope)
    by_lead, by_old, by_gap = map(float, weights)
    exact = 10 * observed.tolerance
    if error > exact or not by_lead > 0.0:
        return Update(None, {}, (), error, len(slope), observed.framework)
    found = []
    if abs(by_old) <= exact * by_lead:
        found.append(Difference("reference", "the old policy is missing from the leads"))
    elif abs(by_old + by_lead) > exact * by_lead:
        found.append(Difference("reference", "leads are not relative to the old policy"))
    if by_gap > 0:
        found.append(Difference("sign", "the update goes against the reward"))
    parameters = {"learning_rate": -by_gap / by_lead}
    found += _meant(parameters, settings, 1e3 * observed.tolerance)
    return Update("REBEL", parameters, tuple(found), error, len(slope), observed.framework)


def _meant(
    parameters: Mapping[str, float], settings: Mapping[str, Any], tolerance: float
) -> Iterator[Difference]:
    """Settings that are something else in the loss."""
    for name, number in settings.items():
        value = parameters.get(name)
        if value is not None and abs(value - number) > max(tolerance, 2 * _FINE) * (
            1 + abs(number)
        ):
            yield Difference("parameter", f"{name} is {value:.6g} where {number:g} was meant")
