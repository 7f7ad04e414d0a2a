"""Kinds of arguments: what each becomes, what it must be, and what is said when it is not.

A kind is a function of the argument's name and of what was given. It returns what the caller
works on, or raises `InvalidArgument` with the remedy. `checked` puts a function's arguments
through their kinds before it sees them. Types and shapes are checked always, values wherever they
are concrete: inside `jax.jit` and `jax.vmap` they are not known yet.
"""

import contextlib
import dataclasses
import functools
import inspect
import math
import numbers
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from apo_sim.errors import InvalidArgument
from apo_sim.plain_kinds import Kind
from apo_sim.plain_kinds import as_seed as as_seed
from apo_sim.plain_kinds import as_text as as_text
from apo_sim.plain_kinds import one_of as one_of

Result = TypeVar("Result")

# No array has more elements along an axis; larger counts overflow in places.
MOST = 2**31 - 1
# Arrays may take this share of the memory that is free.
_SHARE = 0.8


def checked(
    **kinds: Kind,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Put arguments through their kinds, and let no NaN out that numbers brought about.

    The annotations of the function say what it works on; what may be passed is up to the kinds.

    Example:
        >>> @checked(gamma=POSITIVE, iterations=as_count)
        ... def total(gamma, iterations):
        ...     return gamma * iterations
        >>> total(-1.0, 3)
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: gamma = -1.0 must be positive and finite; pass a number \
above 0, such as 1.0
    """

    def declare(function: Callable[..., Result]) -> Callable[..., Result]:
        signature = inspect.signature(function)
        if unknown := set(kinds) - set(signature.parameters):
            raise TypeError(f"{function.__name__} has no parameter {unknown}")

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Result:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = bound.arguments
            for name, kind in kinds.items():
                given[name] = kind(name, given[name])
            try:
                result = function(*bound.args, **bound.kwargs)
            except ValueError as error:
                raise _of_shapes(error, given) from error
            _refuse_nan(result, given)
            return result

        return call

    return declare


def concrete(value: Any) -> np.ndarray | None:
    """The values as NumPy, or None inside a transformation, where they are not known yet."""
    if isinstance(value, Tracer):
        return None
    values = np.asarray(value)
    # NumPy knows neither signs nor infinities of the short floats of machine learning.
    short = values.dtype.kind == "V" and jnp.issubdtype(values.dtype, jnp.floating)
    return values.astype(np.float32) if short else values


@contextlib.contextmanager
def written_in_jax(name: str, value: Any, problem: str, remedy: str) -> Iterator[None]:
    """Within it, what is not written in JAX is refused: NumPy's functions, Python's branches.

    Raises:
        InvalidArgument: says the problem, and in brackets what JAX says of it.
    """
    try:
        yield
    except jax.errors.JAXTypeError as error:
        said = str(error).partition("\n")[0].rstrip(".")
        raise InvalidArgument(name, value, f"{problem} ({said})", remedy) from error


def known(name: str, value: Any) -> np.ndarray | None:
    """Real numbers as NumPy has them, None inside a transformation; JAX's backend stays asleep.

    Defaults are checked when the library is imported, before a user has chosen devices.
    """
    if isinstance(value, jax.Array | Tracer):
        return concrete(as_array(name, value))
    if not may_be_numbers(value):
        raise InvalidArgument(name, value, "is not an array", "pass numbers")
    try:
        values = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidArgument(name, value, "is not an array", "pass numbers") from error
    if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8:  # of which JAX has none
        return concrete(as_array(name, value))
    return values if values.dtype.kind == "f" else values.astype(float)


def as_array(name: str, value: Any) -> jax.Array:
    """Real numbers in an array, of the precision they come in; integers become floats."""
    if not may_be_numbers(value):
        raise InvalidArgument(name, value, "is not an array", "pass numbers")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InvalidArgument(name, value, "has masked entries", "fill them with numbers")
    try:
        array = jnp.asarray(value)
    except OverflowError as error:
        raise InvalidArgument(
            name, value, "is too large for a float", "pass smaller numbers"
        ) from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidArgument(name, value, "is not an array", "pass numbers") from error
    if jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize > 1:
        return array
    if jnp.issubdtype(array.dtype, jnp.integer):
        return array.astype(float)
    raise InvalidArgument(
        name, value, f"has dtype {array.dtype}", "pass real floating-point numbers"
    )


def as_float(
    name: str,
    value: Any,
    shape: tuple[int | None, ...] | None,
    remedy: str = "replace NaN and infinity by finite numbers",
) -> jax.Array:
    """`value` as a floating array of `shape`; its values finite if concrete.

    Args:
        name: of the argument.
        value: what was given.
        shape: sizes, None for any size; None in its place for any shape.
        remedy: what to do about values that are not finite.
    """
    array = as_array(name, value)
    wanted = (None,) * array.ndim if shape is None else shape
    matches = len(wanted) == array.ndim and all(
        want is None or want == have for want, have in zip(wanted, array.shape, strict=True)
    )
    if not matches or 0 in array.shape:
        sizes = ["any" if n is None else str(n) for n in wanted]
        one = sizes and len(sizes) == 1
        words = f"({sizes[0]},)" if one else f"({', '.join(sizes)})"
        raise InvalidArgument(
            name, value, f"has shape {array.shape}", f"pass an array of shape {words}, none empty"
        )
    values = concrete(array)
    if values is not None and not np.all(np.isfinite(values)):
        bad = np.argwhere(~np.isfinite(values))[0]
        raise InvalidArgument(
            name,
            value,
            f"is not finite at index {tuple(map(int, bad))}" if array.ndim else "is not finite",
            remedy,
        )
    return array


@dataclasses.dataclass(frozen=True)
class Real:
    """Finite real numbers, in an array of any shape or of one, within a range.

    Attributes:
        problem: what is said of values outside, such as "is not above 0".
        allowed: the range, as a test of every value.
        remedy: what to pass.
        shape: of the array; None for any, with one number as the simplest.
    """

    problem: str = "is not finite"
    allowed: Callable[[np.ndarray], Any] | None = None
    remedy: str = ""
    shape: tuple[int | None, ...] | None = None

    def __call__(self, name: str, value: Any) -> jax.Array:
        if self.shape == ():
            check_single(name, value, self.remedy or "pass one number")
        array = as_array(name, value)
        if self.allowed is not None:
            self.check(name, value, concrete(array))
        return as_float(name, value, self.shape)

    def check(self, name: str, value: Any, values: np.ndarray | None = None) -> None:
        """Refuse values outside; `values` are as they will be worked on, if they are rounded."""
        values = known(name, value) if values is None else values
        if values is not None:
            within = np.isfinite(values) & (self.allowed or np.isfinite)(values)
            if not np.all(within):
                raise InvalidArgument(name, value, self.problem, self.remedy)

    def one(self) -> "Real":
        """The same for a single number."""
        return dataclasses.replace(self, shape=())


def above_zero(values: np.ndarray) -> Any:
    """Whether each value is positive to the compiler, which takes subnormal ones for zero."""
    return values >= np.finfo(values.dtype).tiny


def within(where: str, allowed: Callable[[np.ndarray], Any]) -> Real:
    """Real numbers in a range, in words and as a test."""
    return Real(f"is not {where}", allowed, f"pass a number {where}")


NUMBER = Real()
POSITIVE = Real("must be positive and finite", above_zero, "pass a number above 0, such as 1.0")
# Rewards that differ by more leave the range of floats.
WIDEST = 1e300
LEAD = Real(
    "must be positive and at most 1e300",
    lambda values: above_zero(values) & (values <= WIDEST),
    "pass a number above 0, such as 1.0",
)
NON_NEGATIVE = Real(
    "must be finite and at least 0", lambda values: values >= 0, "pass a number such as 0.01"
)
PROBABILITY = within("in (0, 1]", lambda values: above_zero(values) & (values <= 1))
LOG_PROBABILITY = within("at most 0", lambda values: values <= 0)
OPEN_SHARE = Real(
    "lies outside (0, 1)",
    lambda values: above_zero(values) & (values < 1),
    "pass a probability like 0.05",
)
SHARE = Real(
    "lies outside [0, 1)", lambda values: (values >= 0) & (values < 1), "pass a number in [0, 1)"
)


def as_count(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """`value` as an integer from `least` to `most`, known before compilation."""
    if isinstance(value, Tracer):
        raise InvalidArgument(name, value, "is traced", "pass a plain integer: it sets a shape")
    remedy = f"pass an integer >= {least}"
    try:
        count = operator.index(value)
    except TypeError:
        raise InvalidArgument(name, value, "is not an integer", remedy) from None
    if isinstance(value, bool | np.bool_) or count < least:
        raise InvalidArgument(name, value, "is not a count", remedy)
    if count > most:
        raise InvalidArgument(name, value, f"is more than {most:,}", "pass a smaller one")
    return count


def as_flag(name: str, value: Any) -> bool:
    """True or False, and nothing that merely counts as one of them."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidArgument(name, value, "is neither True nor False", "pass one of them")
    return bool(value)


def as_function(name: str, value: Any) -> Any:
    """Something that can be called; a class is taken for an instance that was forgotten."""
    if isinstance(value, type) or not callable(value):
        raise InvalidArgument(name, value, "is not callable", "pass a function")
    return value


def function_of(*arguments: Any, **named: Any) -> Kind:
    """The kind of a function that can be called with these.

    Example:
        >>> function_of(0.5)("objective", lambda: 1.0)
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: objective = <function ...> has another signature ...
    """

    def kind(name: str, value: Any) -> Any:
        as_function(name, value)
        try:
            inspect.signature(value).bind(*arguments, **named)
        except ValueError:  # a callable that does not say what it takes
            pass
        except TypeError as error:
            names = [f"{number}." for number in range(1, len(arguments) + 1)] + list(named)
            remedy = f"let it take the arguments {', '.join(names)}"
            raise InvalidArgument(name, value, f"has another signature ({error})", remedy) from None
        return value

    return kind


def as_key(name: str, value: Any) -> Any:
    """One key of the new style."""
    check_key(name, value)
    return value


def instance_of(types: Any, problem: str, remedy: str) -> Kind:
    """The kind of an object of these types; their class in its place is refused, too.

    Example:
        >>> instance_of(str, "is not a name", "pass one")("id", str)
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: id = <class 'str'> is not a name; pass one
    """

    def kind(name: str, value: Any) -> Any:
        if isinstance(value, type) or not isinstance(value, types):
            raise InvalidArgument(name, value, problem, remedy)
        return value

    return kind


def optional(kind: Kind) -> Kind:
    """A kind, or None."""
    return lambda name, value: None if value is None else kind(name, value)


def sequence_of(kind: Kind, problem: str, remedy: str) -> Kind:
    """A list or a tuple of a kind, as a tuple.

    Example:
        >>> sequence_of(as_count, "are not counts", "pass a list")("sizes", [2, 3])
        (2, 3)
    """

    def every(name: str, value: Any) -> tuple[Any, ...]:
        listed = isinstance(value, list | tuple | range | np.ndarray)
        if not listed or getattr(value, "ndim", 1) != 1:
            raise InvalidArgument(name, value, problem, remedy)
        return tuple(kind(name, entry) for entry in value)

    return every


def check_single(name: str, value: Any, remedy: str) -> None:
    """Refuse an array where one number is meant; it would broadcast without a word."""
    if isinstance(value, list | tuple | range) or getattr(value, "shape", ()) not in ((), None):
        raise InvalidArgument(name, value, "is not a single number", remedy)


def check_positive(name: str, value: Any) -> None:
    """Refuse concrete values that are not finite numbers above zero."""
    POSITIVE.check(name, value)


def check_extrapolation(value: Any, unrestricted: bool, name: str = "alpha") -> None:
    """Refuse a concrete extrapolation outside [0, 1) unless the caller asked for any number."""
    values = known(name, value)
    if values is None:
        return
    if not np.all(np.isfinite(values)):
        raise InvalidArgument(name, value, "is not finite", f"pass {name} in [0, 1)")
    if not unrestricted and not np.all((values >= 0) & (values < 1)):
        way_out = (
            ", or unrestricted=True if that is the experiment" if name.startswith("alpha") else ""
        )
        raise InvalidArgument(name, value, "lies outside [0, 1)", f"pass {name} in [0, 1){way_out}")


def check_key(name: str, key: Any, iterations: int | None = None) -> None:
    """Refuse what is not one key of the new style (an old one is a plain array of integers).

    With `iterations`, that many keys will do as well.
    """
    remedy = f"pass {name}=jax.random.key(seed)"
    if not (isinstance(key, jax.Array | Tracer) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise InvalidArgument(name, key, "is not a random key", remedy)
    if key.shape != () and key.shape != (iterations,):
        raise InvalidArgument(name, key, "is several keys", f"{remedy}, or jax.vmap over the keys")


def check_room(name: str, value: Any, shape: Sequence[int], arrays: int = 1) -> None:
    """Refuse sizes whose arrays would not fit into the memory that is free.

    Args:
        name: of the argument that sets the size.
        value: of it.
        shape: of the largest array, in double precision.
        arrays: how many of them are held at a time.

    Example:
        >>> check_room("arms", 10**9, (10**9, 10**9))
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: arms = 1000000000 needs 7.45e+09 GiB ...
    """
    wanted = 8 * arrays * math.prod(int(size) for size in shape)
    free = free_memory()
    if wanted > _SHARE * free:
        raise InvalidArgument(
            name,
            value,
            f"needs {wanted / 2**30:.3g} GiB of memory, and {free / 2**30:.3g} GiB are free",
            "pass a smaller one",
        )


def free_memory() -> float:
    """Bytes of memory that are free; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")


def tolerance(dtype: Any) -> float:
    """How far a sum of probabilities may be from one: the square root of the rounding unit."""
    return math.sqrt(float(jnp.finfo(dtype).eps)) * 10


def check_normalised(name: str, log_probs: Any, remedy: str) -> None:
    """Refuse log-probabilities that are no distribution along their last axis; if concrete.

    Example:
        >>> check_normalised("log_ref", np.log([0.5, 0.4]), "pass jax.nn.log_softmax(log_ref)")
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: log_ref = ... does not normalise (log of the sum is ...
    """
    values = concrete(log_probs)
    if values is None:
        return
    total = np.logaddexp.reduce(values.astype(np.float64), axis=-1)
    if np.any(np.abs(total) > tolerance(log_probs.dtype)):
        worst = total.flat[np.abs(total).argmax()]
        problem = f"does not normalise (log of the sum is {worst:.3g})"
        raise InvalidArgument(name, log_probs, problem, remedy)


def may_be_numbers(value: Any) -> bool:
    """Whether to hand a value to NumPy, which would try to read anything to its end."""
    known = jax.Array | Tracer | np.ndarray | np.generic | numbers.Number | list | tuple | range
    foreign = hasattr(value, "__array__") or hasattr(value, "__jax_array__")
    return isinstance(value, known) or (foreign and not isinstance(value, type))


def _of_shapes(error: ValueError, given: dict[str, Any]) -> ValueError:
    """Arrays that do not broadcast, said of the largest one; any other error as it is."""
    if isinstance(error, InvalidArgument) or "broadcast" not in str(error):
        return error
    arrays = {name: value for name, value in given.items() if isinstance(value, jax.Array)}
    name = max(arrays, key=lambda name: arrays[name].size)
    shapes = ", ".join(f"{other} {array.shape}" for other, array in arrays.items() if array.ndim)
    return InvalidArgument(
        name, given[name], f"does not broadcast ({shapes})", "pass numbers, or arrays of one shape"
    )


def _refuse_nan(result: Any, given: dict[str, Any]) -> None:
    """Blame a NaN on the number that is farthest from 1: it has left the range of floats."""
    leaves = [leaf for leaf in jax.tree.leaves(result) if isinstance(leaf, jax.Array)]
    if any(isinstance(leaf, Tracer) for leaf in leaves) or not any(map(_has_nan, leaves)):
        return
    sizes = {name: _distance_from_one(value) for name, value in given.items()}
    name = max(sizes, key=lambda name: sizes[name])
    raise InvalidArgument(
        name,
        given[name],
        "is too large or too small to compute with",
        "pass numbers nearer to 1, or compute in double precision",
    )


def _has_nan(leaf: jax.Array) -> bool:
    # NumPy compiles nothing for it.
    return jnp.issubdtype(leaf.dtype, jnp.floating) and bool(np.isnan(concrete(leaf)).any())  # type: ignore[arg-type]


def _distance_from_one(value: Any) -> float:
    if not isinstance(value, jax.Array | np.ndarray | float | int):
        return -1.0
    values = concrete(value)
    if values is None or values.dtype.kind not in "fiu":
        return -1.0
    sizes = np.abs(values[values != 0].astype(float))
    return float(np.max(np.abs(np.log(sizes)))) if sizes.size else 0.0
