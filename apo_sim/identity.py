"""What tells two objects apart by their content: the same in every process, another once changed.

Results are kept beside the identity of all that they depend on, and compiled programs are found
again by it. A name or a printed form will not do: two lambdas print alike, and so do two instances
of a class whose settings differ.

The rule: numbers, texts, arrays and containers count by value; functions by their code, defaults,
closure, attributes and the globals that they use; modules of yours by what of them is used;
instances by their class and state, as for pickling (`__getstate__` may leave out what does not
count, such as a cache). What belongs to an installed package counts by its name and the package's
version. An instance of a class of yours, or a function, that has `version` (text or a number)
counts by its name and that, and nothing else of it is looked at.

Files and servers that an object reads count by their names at most.
"""

import copyreg
import enum
import functools
import hashlib
import inspect
import re
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from apo_sim.errors import InvalidArgument
from apo_sim.sources import imported_by, in_package, sources_of, version_of

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, type(...))
# What Python itself keeps in a class; none of it is content.
_BOOKKEEPING = {
    "__module__",
    "__doc__",
    "__dict__",
    "__weakref__",
    "__firstlineno__",
    "__static_attributes__",
    "__annotations__",
    "__annotate__",
    "__annotate_func__",
    "__annotations_cache__",
    "__abstractmethods__",
    "__parameters__",
    "__orig_bases__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__match_args__",
    "__slots__",
    "__slotnames__",
    "__wrapped__",
    "__name__",
    "__qualname__",
    "_abc_impl",
}


def identity(argument: str, value: Any) -> str:
    """A text that equal contents share, in this process and in any other.

    Args:
        argument: name of the argument, for the message.
        value: an object, a function, a container of them.

    Returns:
        How the value prints, without addresses, and 16 digits of a hash of its content.

    Raises:
        InvalidArgument: something in it has no content that could be told; the remedy is named.

    Example:
        >>> one, same, other = (lambda x: x + 1), (lambda x: x + 1), (lambda x: x + 2)
        >>> identity("loss", one) == identity("loss", same)
        True
        >>> identity("loss", one) == identity("loss", other)
        False
        >>> identity("loss", object())
        Traceback (most recent call last):
        ...
        apo_sim.errors.InvalidArgument: loss = <object object> cannot be distinguished \
from another object; make it a dataclass, or give it a `version`
    """
    digest = fingerprint(argument, value)
    words = _words(value)
    return f"{words if len(words) <= 200 else words[:197] + '...'} [{digest}]"


def fingerprint(argument: str, value: Any) -> str:
    """The hash alone.

    Example:
        >>> fingerprint("beta", 1.0) == fingerprint("beta", 2.0)
        False
    """
    try:
        return _hash(_Reading().content(value))
    except _Unknown as found:
        what = _words(value)
        part = found.args[0]
        raise InvalidArgument(
            argument,
            _Verbatim(what),
            "cannot be distinguished from another object"
            + ("" if part == what else f" (because of {part})"),
            "make it a dataclass, or give it a `version`",
        ) from None


class _Unknown(Exception):
    """Something without content that could be told."""


class _Verbatim:
    """Prints as the text it is given."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


class _Reading:
    """One walk through all that a value consists of.

    What holds what is remembered, to stop at circles; and so are functions, classes and modules,
    which refer to each other in so many ways that each is read once.
    """

    def __init__(self, above: tuple[int, ...] = ()):
        self.above = above
        self.read: dict[int, tuple[int, Any]] = {}

    def content(self, value: Any) -> Iterator[bytes]:
        """The parts of a value."""
        if type(value) in _PLAIN:
            yield f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass")
            return
        if id(value) in self.above:
            yield f"circle {len(self.above) - self.above.index(id(value))}".encode()
            return
        if isinstance(value, types.FunctionType | type | types.ModuleType):
            number, _ = self.read.get(id(value), (None, None))
            if number is not None:
                yield f"known {number}".encode()
                return
            self.read[id(value)] = len(self.read), value
        self.above = (*self.above, id(value))
        try:
            yield from self._parts(value)
        except RecursionError:
            raise _Unknown("what is nested too deep") from None
        finally:
            self.above = self.above[:-1]

    def _parts(self, value: Any) -> Iterator[bytes]:
        read = next(read for is_one, read in _KINDS if is_one(value))
        yield from read(self, value)

    def _path(self, value: PurePath) -> Iterator[bytes]:
        yield f"path {value}".encode("utf-8", "surrogatepass")

    def _traced(self, value: Tracer) -> Iterator[bytes]:
        raise _Unknown(f"the traced {value!r}")

    def _untold(self, value: Any) -> Iterator[bytes]:
        raise _Unknown(_words(value))

    def _member(self, value: enum.Enum) -> Iterator[bytes]:
        """A member of an enumeration, with the methods of that and not its other members."""
        yield f"{_name(type(value))}.{value.name}".encode()
        yield from self.content(value.value)
        own = type(value).__dict__.items()
        methods = {n: e for n, e in own if isinstance(e, types.FunctionType)}
        yield from self._attributes({} if _installed(type(value)) else methods)

    def _versioned(self, value: Any) -> Iterator[bytes]:
        named = value if isinstance(value, type | types.FunctionType) else type(value)
        yield f"{_name(named)} {_declared(value)!r}".encode()

    def _method(self, value: types.MethodType) -> Iterator[bytes]:
        yield b"method"
        yield from self.content((value.__self__, value.__func__))

    def _builtin(self, value: Any) -> Iterator[bytes]:
        yield f"builtin {_name(value)}".encode()
        owner = getattr(value, "__self__", None)
        if not isinstance(owner, types.ModuleType | None):
            yield from self.content(owner)

    def _unbound(self, value: Any) -> Iterator[bytes]:
        yield type(value).__name__.encode()
        yield from self.content(value.__func__)

    def _property(self, value: Any) -> Iterator[bytes]:
        yield type(value).__name__.encode()
        parts = ("fget", "fset", "fdel", "func")
        yield from self.content([getattr(value, part, None) for part in parts])

    def _descriptor(self, value: Any) -> Iterator[bytes]:
        yield f"descriptor {_name(value)}".encode()

    def _set(self, value: Any) -> Iterator[bytes]:
        yield f"set of {len(value)}".encode()
        yield from sorted(self._alone(entry) for entry in value)

    def _sequence(self, value: Any) -> Iterator[bytes]:
        yield f"{type(value).__name__} of {len(value)}".encode()
        for entry in value:
            yield from self.content(entry)

    def _wrapped(self, value: Any) -> Iterator[bytes]:
        """What `jax.jit` and its like return."""
        yield f"wrapped by {_name(type(value))}".encode()
        yield from self.content(value.__wrapped__)
        yield from self._attributes(getattr(value, "__dict__", {}))

    def _array(self, value: Any) -> Iterator[bytes]:
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            yield f"keys of {jax.random.key_impl(value)}".encode()
            value = jax.random.key_data(value)
        values = np.asarray(value)
        if values.dtype.hasobject:
            yield from self.content(values.tolist())
            return
        yield f"array {values.dtype} {values.shape}".encode()
        yield np.ascontiguousarray(values).tobytes()

    def _mapping(self, value: Any) -> Iterator[bytes]:
        yield f"mapping of {len(value)}".encode()
        for text, key in sorted(((self._alone(key), key) for key in value), key=lambda two: two[0]):
            yield text
            yield from self.content(value[key])

    def _alone(self, value: Any) -> bytes:
        """A part whose place among the others is open."""
        return _hash(_Reading(self.above).content(value)).encode()

    def _function(self, value: types.FunctionType) -> Iterator[bytes]:
        yield f"function {_name(value)}".encode()
        # Whatever package made it, what it was made with is its own.
        closure = [_cell(cell) for cell in value.__closure__ or ()]
        yield from self.content((value.__defaults__, value.__kwdefaults__, closure))
        yield from self._attributes(value.__dict__)
        if in_package(value.__code__.co_filename):
            yield version_of(value.__module__ or "").encode()
            return
        yield from self._code(value.__code__)
        names = _names_in(value.__code__)
        for name in sorted(names & value.__globals__.keys()):
            found = value.__globals__[name]
            yield name.encode()
            if isinstance(found, types.ModuleType) and not _installed_module(found):
                yield from self._used_of(found, names)
            else:
                yield from self.content(found)
        package = value.__globals__.get("__package__") or ""
        for name in sorted(set(imported_by(value.__code__, package))):
            yield from (line.encode() for line in sources_of(name))

    def _used_of(self, module: types.ModuleType, names: set[str]) -> Iterator[bytes]:
        """What a function uses of a module that is no package's: by the names that it says."""
        yield f"module {module.__name__}".encode()
        for name in sorted(names & module.__dict__.keys()):
            found = module.__dict__[name]
            yield name.encode()
            if found is module or id(found) in self.above:
                continue
            if isinstance(found, types.ModuleType) and not _installed_module(found):
                yield from self._used_of(found, names - {name})
            else:
                yield from self.content(found)

    def _code(self, code: types.CodeType) -> Iterator[bytes]:
        """What a function does, without where it was written."""
        yield code.co_code
        yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)).encode()
        yield repr((code.co_argcount, code.co_kwonlyargcount, code.co_flags)).encode()
        yield from self.content(code.co_consts)

    def _module(self, value: types.ModuleType) -> Iterator[bytes]:
        if _installed_module(value):
            yield f"module {value.__name__} {version_of(value.__name__)}".encode()
        else:
            yield from (line.encode() for line in sources_of(value.__name__))

    def _class(self, value: type) -> Iterator[bytes]:
        yield f"class {_name(value)}".encode()
        if _installed(value):
            yield version_of(value.__module__).encode()
            return
        for base in value.__bases__:
            yield from self.content(base)
        yield from self._attributes(
            {
                name: entry
                for name, entry in value.__dict__.items()
                if not isinstance(entry, types.MemberDescriptorType)  # of slots
            }
        )

    def _attributes(self, found: Mapping[str, Any]) -> Iterator[bytes]:
        for name, entry in sorted(found.items()):
            if name not in _BOOKKEEPING:
                yield name.encode()
                yield from self.content(entry)

    def _instance(self, value: Any) -> Iterator[bytes]:
        """The class, then the state, as for pickling."""
        yield b"instance"
        yield from self.content(type(value))
        if hasattr(type(value), "detach") and hasattr(type(value), "numpy"):
            yield from self._tensor(value)
            return
        # Nothing tells bare objects apart; within something they stand for "not given".
        if type(value) is object and len(self.above) == 1:
            raise _Unknown(_words(value))
        reduce = copyreg.dispatch_table.get(type(value))
        try:
            parts: Any = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except Exception:  # whatever cannot be pickled says so in its own way
            raise _Unknown(_words(value)) from None
        if isinstance(parts, str):
            yield f"global {parts}".encode()
            return
        maker, given = parts[:2]
        state, entries, items = (*parts[2:], None, None, None)[:3]
        # By what they are: parts have notions of equality of their own, or none.
        if not (given and given[0] is type(value)):
            yield from self.content(maker)
        yield from self.content([part for part in given if part is not type(value)])
        if isinstance(state, dict):
            state = {
                name: part for name, part in state.items() if name not in _derived(value)
            } or None
        yield from self.content(state)
        yield from self.content(list(entries or ()))
        if isinstance(value, OrderedDict):
            yield from self.content(list(items or ()))
        else:
            yield from self._mapping(dict(items or ()))

    def _tensor(self, value: Any) -> Iterator[bytes]:
        """A tensor of PyTorch's; NumPy lacks some of its short floats, which single ones hold."""
        values = value.detach().cpu()
        yield f"tensor {values.dtype}".encode()
        try:
            yield from self._array(values.numpy())
        except TypeError:
            yield from self._array(values.float().numpy())


_DESCRIPTORS = (
    types.MemberDescriptorType
    | types.GetSetDescriptorType
    | types.MethodDescriptorType
    | types.WrapperDescriptorType
)


def _words(value: Any) -> str:
    """How a value prints, without addresses."""
    try:
        return _ADDRESS.sub("", repr(value))
    except Exception:  # a caller's own, or one that is nested too deep
        return f"<{type(value).__name__}>"


def _hash(parts: Iterable[bytes]) -> str:
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big") + part)
    return hasher.hexdigest()[:16]


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return "empty"


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code and those within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _names_in(code: types.CodeType) -> set[str]:
    return {name for part in _codes(code) for name in part.co_names}


def _derived(value: Any) -> set[str]:
    """What `functools.cached_property` has put among the attributes: it follows from the rest."""
    return {
        name
        for kind in type(value).__mro__
        for name, entry in kind.__dict__.items()
        if isinstance(entry, functools.cached_property)
    }


def _declared(value: Any) -> Any:
    """The version that a function or an object of a user's class declares, if it does."""
    kind = value if isinstance(value, type) else type(value)
    if not isinstance(value, types.FunctionType) and _installed(kind):
        return None
    version = inspect.getattr_static(value, "version", None)
    version = getattr(value, "version", None) if version is not None else None
    return version if isinstance(version, str | int | float) else None


def _name(value: Any) -> str:
    module = getattr(value, "__module__", None) or ""
    return f"{module}:{getattr(value, '__qualname__', getattr(value, '__name__', repr(value)))}"


def _installed(kind: type) -> bool:
    """Whether a class belongs to Python, to this library or to an installed package."""
    if kind.__module__ == "builtins":
        return True
    module = sys.modules.get(kind.__module__)
    found: Any = module
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind and module is not None and _installed_module(module)


def _installed_module(module: types.ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if file is None:  # built into Python, or a folder of several packages
        return module.__name__ in sys.builtin_module_names or version_of(module.__name__) != ""
    return in_package(file)


def _kind(*kinds: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _exactly(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds


def _is_made_of_python(value: Any) -> bool:
    """Whether it is a ufunc of NumPy's made of a function of Python's that it keeps inside."""
    return isinstance(value, np.ufunc) and "(vectorized)" in value.__name__


def _is_wrapper(value: Any) -> bool:
    wraps = callable(value) and _installed(type(value))
    return wraps and bool(getattr(value, "__wrapped__", None))


# What kinds of values there are, and how each is read: the first that a value is one of.
_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[_Reading, Any], Iterator[bytes]]], ...] = (
    (_kind(PurePath), _Reading._path),
    (_kind(Tracer), _Reading._traced),
    (_kind(Iterator), _Reading._untold),  # used up by looking at it, or by the first use
    (_kind(jax.Array, np.generic), _Reading._array),
    (_exactly(np.ndarray, np.memmap), _Reading._array),
    (_kind(enum.Enum), _Reading._member),
    (_kind(types.ModuleType), _Reading._module),
    (lambda value: _declared(value) is not None, _Reading._versioned),
    (_kind(type), _Reading._class),
    (_kind(types.FunctionType), _Reading._function),
    (_kind(types.CodeType), _Reading._code),
    (_kind(types.MethodType), _Reading._method),
    (_is_made_of_python, _Reading._untold),
    (_kind(types.BuiltinFunctionType, np.ufunc), _Reading._builtin),
    (_kind(staticmethod, classmethod), _Reading._unbound),
    (_kind(property, functools.cached_property), _Reading._property),
    (_kind(_DESCRIPTORS), _Reading._descriptor),
    (_exactly(dict, types.MappingProxyType), _Reading._mapping),
    (_exactly(set, frozenset), _Reading._set),
    (_exactly(list, tuple), _Reading._sequence),
    (_is_wrapper, _Reading._wrapped),
    (lambda value: True, _Reading._instance),
)
