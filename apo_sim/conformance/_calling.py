"""How somebody's loss is called: what its arguments stand for, and in which framework it counts."""

import contextlib
import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.conformance.inputs import LENGTHS, NAMES, POSITIONS
from apo_sim.errors import InvalidArgument

# Step of a central difference, of numbers that are tens.
_STEP = 1e-4
# How far two ways to compute the same number may be apart.
_OF_DIFFERENCES, _DOUBLE, _SINGLE = 1e-6, 1e-8, 1e-4
_REMEDY = (
    "let it take policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps "
    "by name, or four arrays by position; chosen_lengths and rejected_lengths are optional"
)
_POINTWISE = {"policy_logps", "labels"}


@dataclass(frozen=True)
class Call:
    """A loss and how its arguments are filled in: `call(inputs)` is what the loss returns.

    Attributes:
        loss: somebody's function.
        by_name: the field of `Inputs` behind each argument that is passed by name.
        by_position: the fields passed by position.
        settings: further arguments, numbers such as beta.
        pointwise: whether the loss is one of single labelled responses; a pair is two of them.
    """

    loss: Callable[..., Any]
    by_name: Mapping[str, str]
    by_position: tuple[str, ...]
    settings: Mapping[str, Any]
    pointwise: bool = False

    @property
    def takes(self) -> frozenset[str]:
        """The fields of `Inputs` that the loss is shown."""
        if not self.pointwise:
            return frozenset((*self.by_name.values(), *self.by_position))
        anchors = {"policy_kl", "ref_kl"} & set(self.by_name.values())
        lengths = LENGTHS if "lengths" in self.by_name else ()
        return frozenset((*POSITIONS, *anchors, *lengths))

    def __call__(self, inputs: Any) -> Any:
        if self.pointwise:
            return self._of(inputs, "chosen") + self._of(inputs, "rejected")
        arguments = [getattr(inputs, field) for field in self.by_position]
        named = {name: getattr(inputs, field) for name, field in self.by_name.items()}
        return _first(self.loss(*arguments, **named, **self.settings))

    def _of(self, inputs: Any, which: str) -> Any:
        policy = getattr(inputs, f"policy_{which}")
        fields = {
            "policy_logps": policy,
            "ref_logps": getattr(inputs, f"ref_{which}"),
            "reference_logps": getattr(inputs, f"ref_{which}"),
            "labels": _labels(policy, which == "chosen"),
            "lengths": getattr(inputs, f"{which}_lengths"),
        }
        named = {
            name: fields[name] if name in fields else getattr(inputs, field)
            for name, field in self.by_name.items()
        }
        return _first(self.loss(**named, **self.settings))


def _labels(like: Any, value: bool) -> Any:
    if hasattr(like, "new_full"):  # PyTorch
        return like.new_full(like.shape, float(value)).bool()
    whole = jnp if isinstance(like, jax.Array) else np
    return whole.full(like.shape, value)


def _first(result: Any) -> Any:
    """The loss itself, of functions that return rewards or metrics besides."""
    return result[0] if isinstance(result, tuple | list) else result


def bind(loss: Any, settings: Mapping[str, Any]) -> Call:
    """Find out what the arguments of a loss stand for.

    Args:
        loss: a function of log-probabilities.
        settings: numbers to pass by name, where the loss takes an argument of that name.

    Raises:
        InvalidArgument: it cannot be called, or takes something that is not known.

    Example:
        >>> call = bind(lambda policy_chosen_logps, policy_rejected_logps, beta: 0.0, {"beta": 1.0})
        >>> sorted(call.takes), call.settings
        (['policy_chosen', 'policy_rejected'], {'beta': 1.0})
    """
    if isinstance(loss, type) or not callable(loss):
        raise InvalidArgument("loss", loss, "is not callable", _REMEDY)
    try:
        parameters = inspect.signature(loss).parameters
    except (TypeError, ValueError):  # a callable that does not say what it takes
        return Call(loss, {}, POSITIONS, {})
    keywords = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {name: value for name, value in settings.items() if keywords or name in parameters}
    pointwise = set(parameters) >= _POINTWISE
    known = {**NAMES, **dict.fromkeys(_OF_POINTS, "")} if pointwise else NAMES
    by_name = {name: known[name] for name in parameters if name in known}
    rest = [
        p.name
        for p in parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.default is p.empty
        and p.name not in by_name
        and p.name not in given
    ]
    if pointwise or {"policy_chosen_logps", "policy_rejected_logps"} <= set(by_name):
        if rest:
            raise InvalidArgument("loss", loss, f"also takes {', '.join(rest)}", _REMEDY)
        return Call(loss, by_name, (), given, pointwise)
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
    if not by_name and (len(rest) == 4 or (several and not rest)):
        return Call(loss, {}, POSITIONS, given)
    if len(rest) + len(by_name) == 6 and set(by_name.values()) <= set(LENGTHS):
        return Call(loss, by_name, (*POSITIONS, *LENGTHS)[: len(rest)], given)
    if len(rest) == 4 and set(by_name.values()) <= set(NAMES.values()):
        return Call(loss, by_name, POSITIONS, given)
    raise InvalidArgument("loss", loss, f"takes different arguments ({', '.join(rest)})", _REMEDY)


_OF_POINTS = ("policy_logps", "ref_logps", "reference_logps", "labels", "lengths")


@dataclass(frozen=True)
class Observed:
    """What a loss answered.

    Attributes:
        inputs: the `Inputs`, or `Draws`, it was asked about, those it has a finite answer to.
        values: its value for each, shape (rows,).
        gradient: by log pi of winner and loser, shape (rows, 2).
        anchor_gradient: by log pi of the response to another prompt, shape (rows,).
        takes: the fields of `Inputs` that the loss is shown.
        framework: numpy, jax, torch, or "torch float32" where it fails in double precision.
        tolerance: how far its numbers may be from exact ones, relatively.
        reach: how far around a log-probability its gradient looks; 0 but for differences.
        coupled: whether the value of a pair depends on what else is in the batch.
    """

    inputs: Any
    values: np.ndarray
    gradient: np.ndarray
    anchor_gradient: np.ndarray
    takes: frozenset[str]
    framework: str
    tolerance: float
    reach: float
    coupled: bool


def observe(call: Call, inputs: Any, traced: bool = False) -> Observed:
    """Values and gradients of a loss.

    A loss that returns one number for a batch, or whose pairs depend on each other, is asked about
    each pair alone.

    Args:
        call: the loss.
        inputs: what it is asked about.
        traced: whether JAX is tried first even where NumPy would do, since a loss that stops a
            gradient shows that to JAX only.

    Raises:
        InvalidArgument: it fails in every framework, or half of its answers are not finite.

    Example:
        >>> from apo_sim.conformance.inputs import random_inputs
        >>> call = bind(lambda w, l, rw, rl: (w - rw - l + rl) ** 2, {})
        >>> observed = observe(call, random_inputs(8, seed=0))
        >>> observed.framework, observed.values.shape, observed.coupled
        ('numpy', (8,), False)
    """
    counts = _framework(call, inputs, traced)
    try:
        coupled, whole = _coupled(counts, inputs)
        if coupled or not whole:
            one = [counts.differentiate(inputs.rows(slice(i, i + 1))) for i in range(_rows(inputs))]
            values, gradient = (np.concatenate(part) for part in zip(*one, strict=True))
        else:
            values, gradient = counts.differentiate(inputs)
    except Exception as error:  # whatever a stranger's function raises, once it is asked for more
        raise InvalidArgument("loss", call.loss, f"fails ({_line(error)})", _REMEDY) from error
    finite = np.isfinite(values) & np.isfinite(gradient).all(axis=1)
    if finite.sum() < len(finite) / 2:
        raise InvalidArgument(
            "loss", call.loss, "is not finite", "let it return a number for log-ratios of ± 30"
        )
    return Observed(
        inputs.rows(finite),
        values[finite],
        gradient[finite, :2],
        gradient[finite, 2:].sum(axis=1),
        call.takes,
        counts.name,
        counts.tolerance,
        counts.reach,
        coupled,
    )


def _rows(inputs: Any) -> int:
    return len(getattr(inputs, inputs.variables[0]))


def _coupled(counts: "_Numpy", inputs: Any) -> tuple[bool, bool]:
    """Whether pairs depend on each other, and whether a batch answers for each of them."""
    few = inputs.rows(slice(0, 4))
    alone = np.concatenate([counts.values(few.rows(slice(i, i + 1))) for i in range(4)])
    together = counts.values(few)
    whole = together.shape == alone.shape
    ways = [together - alone] if whole else [together - alone.mean(), together - alone.sum()]
    size = 1e2 * counts.tolerance * (1.0 + np.abs(alone).max())
    return not any(np.abs(way).max() <= size for way in ways), whole


@dataclass
class _Numpy:
    """Values, and central differences of them."""

    call: Call
    name: str = "numpy"
    tolerance: float = _OF_DIFFERENCES
    reach: ClassVar[float] = 2 * _STEP

    def values(self, inputs: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return _by_pair(np.asarray(self.call(inputs), dtype=float), _rows(inputs))

    def differentiate(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        return self.values(inputs), np.stack([self._slope(inputs, f) for f in inputs.variables], 1)

    def _slope(self, inputs: Any, field: str) -> np.ndarray:
        ends = [
            self.values(dataclasses.replace(inputs, **{field: getattr(inputs, field) + step}))
            for step in (2 * _STEP, _STEP, -_STEP, -2 * _STEP)
        ]
        return (8 * (ends[1] - ends[2]) - (ends[0] - ends[3])) / (12 * _STEP)


def _by_pair(values: np.ndarray, rows: int) -> np.ndarray:
    """One number a pair; of those for winners and losers apart, their sum."""
    values = values.reshape(-1)
    return values.reshape(2, rows).sum(axis=0) if values.size == 2 * rows else values


class _Jax(_Numpy):
    """Gradients by JAX, in double precision."""

    reach = 0.0

    def values(self, inputs: Any) -> np.ndarray:
        with jax.enable_x64(True):
            result = self.call(_each(inputs, jnp.asarray))
            if jnp.asarray(result).dtype == jnp.float32:
                self.tolerance = _SINGLE
            return _by_pair(np.asarray(result, dtype=float), _rows(inputs))

    def differentiate(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        values = self.values(inputs)
        with jax.enable_x64(True):
            given = _each(inputs, jnp.asarray)

            def total(*parts):
                changed = dict(zip(inputs.variables, parts, strict=True))
                return jnp.sum(self.call(dataclasses.replace(given, **changed)))

            parts = tuple(getattr(given, field) for field in given.variables)
            slopes = jax.grad(total, argnums=tuple(range(len(parts))))(*parts)
            return values, np.stack([np.asarray(slope) for slope in slopes], axis=1)


class _Torch(_Numpy):
    """Gradients by PyTorch, in double precision where the loss has it."""

    reach = 0.0
    double: bool = True

    def _given(self, inputs: Any) -> tuple[Any, list[Any]]:
        torch = importlib.import_module("torch")
        dtype = torch.float64 if self.double else torch.float32

        def tensor(values: np.ndarray) -> Any:
            return torch.as_tensor(np.array(values), dtype=dtype if values.dtype == float else None)

        given = _each(inputs, tensor)
        parts = [getattr(given, field).requires_grad_() for field in given.variables]
        return given, parts

    def _result(self, inputs: Any) -> tuple[Any, list[Any]]:
        torch = importlib.import_module("torch")
        given, parts = self._given(inputs)
        result = self.call(given)
        if result.dtype != torch.float64:
            self.tolerance = _SINGLE
        return result, parts

    def values(self, inputs: Any) -> np.ndarray:
        result, _ = self._result(inputs)
        return _by_pair(result.detach().double().numpy(), _rows(inputs))

    def differentiate(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        result, parts = self._result(inputs)
        result.sum().backward()
        slopes = [
            np.zeros(_rows(inputs)) if part.grad is None else part.grad.double().numpy()
            for part in parts
        ]
        return _by_pair(result.detach().double().numpy(), _rows(inputs)), np.stack(slopes, axis=1)


class _TorchSingle(_Torch):
    double = False


def _each(inputs: Any, convert: Callable[[np.ndarray], Any]) -> Any:
    fields = dataclasses.fields(inputs)
    return type(inputs)(**{f.name: convert(np.asarray(getattr(inputs, f.name))) for f in fields})


def _framework(call: Call, inputs: Any, traced: bool) -> _Numpy:
    """The first one in which the loss returns what belongs to it."""
    pair, failure = inputs.rows(slice(0, 2)), None
    if traced:
        with contextlib.suppress(Exception):  # whatever a stranger's function raises
            way = _Jax(call, "jax", _DOUBLE)
            way.differentiate(pair)
            return way
    try:
        with np.errstate(all="ignore"):
            result = call(pair)
    except Exception as error:
        result, failure = None, error
    if isinstance(result, jax.Array):
        return _Jax(call, "jax", _DOUBLE)
    if isinstance(result, np.ndarray | np.generic | float):
        return _Numpy(call)
    ways: list[_Numpy] = [_Jax(call, "jax", _DOUBLE)]
    if "torch" in sys.modules:
        ways = [_TorchSingle(call, "torch float32", _SINGLE), *ways]
        ways.insert(0, _Torch(call, "torch", _DOUBLE))
    for way in ways:
        try:
            way.differentiate(pair)
        except Exception as error:  # whatever a stranger's function raises
            failure = error if failure is None or way.name.startswith("torch") else failure
        else:
            return way
    if failure is None or result is not None:
        raise InvalidArgument("loss", call.loss, "does not return numbers", _REMEDY)
    raise InvalidArgument("loss", call.loss, f"fails ({_line(failure)})", _REMEDY)


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:120]}".rstrip(": ")
