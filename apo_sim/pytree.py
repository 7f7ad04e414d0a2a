"""Dataclasses that JAX sees through, and whose checks JAX does not trip over."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from apo_sim.identity import fingerprint
from apo_sim.self_checking import checks_itself

T = TypeVar("T")


def static(**kwargs: Any) -> Any:
    """A dataclass field that is part of the compiled program (hashable), not of the data."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
def pytree_dataclass(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass and a pytree; fields marked `static()` are not leaves.

    Unlike `jax.tree_util.register_dataclass`, rebuilding an instance from leaves skips
    `__post_init__`: JAX rebuilds with placeholders that no check of values would accept.

    Example:
        >>> @pytree_dataclass
        ... class Point:
        ...     x: float
        ...     name: str = static(default="p")
        >>> jax.tree.map(lambda leaf: leaf + 1, Point(1.0))
        Point(x=2.0, name='p')
    """
    cls = dataclasses.dataclass(frozen=True)(cls)  # type: ignore[assignment]
    # Annotations state what a field becomes; what may be passed is up to __post_init__, which
    # converts, checks and says what is wrong.
    cls.__init__ = checks_itself(cls.__init__)  # type: ignore[method-assign]
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    data = tuple(f.name for f in fields if not f.metadata.get("static"))
    meta = tuple(f.name for f in fields if f.metadata.get("static"))

    def flatten_with_keys(obj):
        leaves = tuple((jax.tree_util.GetAttrKey(name), getattr(obj, name)) for name in data)
        return leaves, tuple(_part_of_program(name, getattr(obj, name)) for name in meta)

    def unflatten(aux, leaves):
        obj = object.__new__(cls)
        for name, value in (*zip(data, leaves, strict=True), *zip(meta, aux, strict=True)):
            object.__setattr__(obj, name, revealed(value))
        return obj

    cls.__data_fields__ = data  # type: ignore[attr-defined]
    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten)
    return cls


class _Hidden:
    """An object that is no pytree, carried into jit as part of the program.

    Two are equal if their contents are: a compiled program that has another content inside it is
    not used again, even if the object is the same one and has only been changed.
    """

    def __init__(self, content: Any, name: str = "argument"):
        self.content = content
        self.fingerprint = fingerprint(name, content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


jax.tree_util.register_pytree_node(_Hidden, lambda box: ((), box), lambda box, _: box)


class _Coded:
    """A pytree of a user's class, with what its methods do: jit sees its leaves alone."""

    def __init__(self, content: Any, code: str):
        self.content, self.code = content, code


jax.tree_util.register_pytree_node(
    _Coded, lambda box: ((box.content,), box.code), lambda code, parts: _Coded(parts[0], code)
)


def hidden(obj: Any, name: str = "argument") -> Any:
    """`obj` itself if it is the library's, else a box that jit hashes and compares by content.

    So a user's loss or momentum rule may be a plain object, a function or a pytree.

    Raises:
        InvalidArgument: its content cannot be told; see `apo_sim.identity`.

    Example:
        >>> revealed(hidden(len)) is len
        True
        >>> hidden(lambda x: x + 1) == hidden(lambda x: x + 1)
        True
    """
    if opaque(obj):
        return _Hidden(obj, name)
    return obj if _is_ours(obj) else _Coded(obj, fingerprint(name, type(obj)))


def boxed(obj: T, name: str = "argument") -> T:
    """`obj` with every user's object inside it `hidden`, however deep.

    Example:
        >>> @pytree_dataclass
        ... class Holder:
        ...     rule: object
        >>> holder = Holder(len)
        >>> boxed(holder).rule is len, unboxed(boxed(holder)).rule is len
        (False, True)
    """
    return _rebuilt(obj, name, lambda leaf, name: leaf if _is_number(leaf) else hidden(leaf, name))


def unboxed(obj: T) -> T:
    """Undo `boxed`."""
    return _rebuilt(obj, "", lambda leaf, _: revealed(leaf))


def _rebuilt(obj: Any, name: str, change: Callable[[Any, str], Any]) -> Any:
    parts = vars(type(obj)).get("__data_fields__")
    if parts is not None and _is_ours(obj):
        new = object.__new__(type(obj))
        new.__dict__.update(obj.__dict__)
        for part in parts:
            new.__dict__[part] = _rebuilt(getattr(obj, part), part, change)
        return new
    if type(obj) in (tuple, list):
        return type(obj)(_rebuilt(part, name, change) for part in obj)
    if type(obj) is dict:
        return {key: _rebuilt(part, name, change) for key, part in obj.items()}
    return obj if obj is None else change(obj, name)


def _is_ours(obj: Any) -> bool:
    return type(obj).__module__.partition(".")[0] in ("apo_sim", "builtins")


def _is_number(obj: Any) -> bool:
    return isinstance(obj, bool | int | float | jax.Array | np.ndarray | np.generic)


def opaque(obj: Any) -> bool:
    """Whether JAX takes an object for a single leaf.

    Example:
        >>> opaque(len), opaque([1, 2])
        (True, False)
    """
    leaves = jax.tree.leaves(obj)
    return len(leaves) == 1 and leaves[0] is obj


def revealed(obj: Any) -> Any:
    """Undo `hidden`."""
    return obj.content if isinstance(obj, _Hidden | _Coded) else obj


def _part_of_program(name: str, value: Any) -> Any:
    """A static field as jit may compare it: plain values by themselves, all else by content."""
    plain = value is None or isinstance(value, bool | int | float | str)
    return value if plain else _Hidden(value, name)


def like(new: T, old: T) -> T:
    """`new` in the precision of `old`, leaf by leaf: what a rule brings may have another one.

    Example:
        >>> import jax.numpy as jnp
        >>> str(like(jnp.float16(1.0), jnp.float32(2.0)).dtype)
        'float32'
    """

    def cast(new, old):
        dtype = jnp.result_type(old)
        return jnp.asarray(new, dtype) if jnp.issubdtype(dtype, jnp.floating) else new

    return jax.tree.map(cast, new, old)
