"""Identity: what behaves alike is one and the same in every process, and anything else is not."""

import dataclasses
import decimal
import enum
import functools
import importlib
import itertools
import os
import re
import subprocess
import sys
import textwrap
import threading
import types
import uuid
from collections import OrderedDict, defaultdict, deque, namedtuple
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas
import pytest

import apo_sim as apo
from apo_sim.errors import InvalidArgument
from apo_sim.identity import fingerprint, identity

SETTING = 1.0


def of(value: Any) -> str:
    return fingerprint("value", value)


def defined(source: str, name: str = "f", module: str = "written_by_a_user", file: str = "") -> Any:
    """What a source defines, as a module of a user's."""
    made = types.ModuleType(module)
    made.__file__ = file or "/a/module.py"
    exec(compile(textwrap.dedent(source), made.__file__, "exec"), made.__dict__)
    return made.__dict__[name]


def closure(value: Any) -> Any:
    return lambda x: x + value


class Plain:
    def __init__(self, **settings: Any):
        self.__dict__.update(settings)


class Slotted:
    __slots__ = ("__hidden", "seen")

    def __init__(self, seen: Any, hidden: Any):
        self.seen, self.__hidden = seen, hidden


class Callable:
    def __init__(self, sign: float):
        self.sign = sign

    def __call__(self, x: Any) -> Any:
        return self.sign * x

    def method(self, x: Any) -> Any:
        return self.sign * x


class Listed(list):
    """A container of a user's, with something beside what it contains."""

    sign = 1.0


class Number(float):
    sign = 1.0


class Tensor:
    """A tensor of PyTorch's in a precision that NumPy lacks, as far as it is looked at."""

    dtype = "torch.bfloat16"

    def __init__(self, values: Any, known: bool = False):
        self.values, self.known = values, known

    def detach(self) -> "Tensor":
        return self

    cpu = detach

    def float(self) -> "Tensor":
        return Tensor(self.values, known=True)

    def numpy(self) -> np.ndarray:
        if not self.known:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return np.array(self.values, np.float32)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("takes the way of tensors")


class Anything:
    """Has an attribute of every name, as clients of remote services do."""

    def __init__(self, setting: Any):
        self.setting = setting

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.setting


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: int
    b: Any = None


class Kind(enum.Enum):
    ONE = 1


Pair = namedtuple("Pair", "a b")


def with_attribute(sign: float) -> Any:
    def f(x: Any) -> Any:
        return f.sign * x  # type: ignore[attr-defined]

    f.sign = sign  # type: ignore[attr-defined]
    return f


def curved(slope: float) -> Any:
    @jax.custom_jvp
    def f(x: Any) -> Any:
        return x

    f.defjvp(lambda primals, tangents: (primals[0], slope * tangents[0]))
    return f


# Two that behave differently and look alike.
OTHERS: dict[str, tuple[Any, Any]] = {
    "code": (lambda x: x + 1, lambda x: x + 2),
    "default": (lambda x, y=1: x, lambda x, y=2: x),
    "keyword default": (lambda x, *, y=1: x, lambda x, *, y=2: x),
    "closure": (closure(1), closure(2)),
    "array in a closure": (closure(np.zeros(3)), closure(np.array([0.0, 0.0, 1e-9]))),
    "sign of zero": (0.0, -0.0),
    "kind of number": (1, 1.0),
    "truth and number": (True, 1),
    "precision": (np.float32(1), np.float64(1)),
    "shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "long array": (np.arange(10_000), np.where(np.arange(10_000) == 5_000, -1, np.arange(10_000))),
    "mask": (np.ma.array([1, 2], mask=[False, True]), np.ma.array([1, 2], mask=[False, False])),
    "key": (jax.random.key(0), jax.random.key(1)),
    "setting": (Plain(sign=1), Plain(sign=-1)),
    "nested setting": (Plain(inner=[{"a": 1}]), Plain(inner=[{"a": 2}])),
    "slot": (Slotted(1, 2), Slotted(2, 2)),
    "private slot": (Slotted(1, 2), Slotted(1, 3)),
    "frozen slot": (Frozen(1), Frozen(2)),
    "callable": (Callable(1.0), Callable(2.0)),
    "method": (Callable(1.0).method, Callable(2.0).method),
    "partial": (functools.partial(max, 1), functools.partial(max, 2)),
    "keyword of a partial": (functools.partial(print, end=""), functools.partial(print, end=" ")),
    "jitted": (jax.jit(closure(1)), jax.jit(closure(2))),
    "mapped": (jax.vmap(closure(1)), jax.vmap(closure(2))),
    "derivative": (curved(1.0), curved(2.0)),
    "cached": (functools.lru_cache(closure(1)), functools.lru_cache(closure(2))),
    "attribute of a function": (with_attribute(1.0), with_attribute(2.0)),
    "identifier": (uuid.UUID(int=1), uuid.UUID(int=2)),  # both have the version None
    "pattern": (re.compile("a"), re.compile("b")),
    "decimal": (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    "range": (range(10**9), range(10**9 + 1)),
    "named tuple": (Pair(1, 2), Pair(1, 3)),
    "queue": (deque([1]), deque([2])),
    "factory": (defaultdict(int, a=1), defaultdict(float, a=1)),
    "ordered": (OrderedDict(a=1, b=2), OrderedDict(a=1, b=3)),
    "order": (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    "table": (pandas.DataFrame({"a": [1]}), pandas.DataFrame({"a": [2]})),
    "weights in bfloat16": (Tensor([1.0, 2.0]), Tensor([1.0, 3.0])),
    "any attribute": (Anything(1), Anything(2)),
    "content of a list of one's own": (Listed([1]), Listed([2])),
    "random state": (np.random.default_rng(0), np.random.default_rng(1)),
    "path": (Path("a"), Path("b")),
    "rule": (apo.Constant(0.1), apo.Constant(0.2)),
    "loss": (apo.IPO(1.0), apo.IPO(2.0)),
    "optimiser": (functools.partial(optax.adamw, b1=0.9), functools.partial(optax.adamw, b1=0.8)),
    "transformation": (optax.sgd(0.1), optax.sgd(0.2)),
    "set": ({1, 2}, {1, 3}),
    "surrogate": ("\ud800", "\ud801"),
    "boundary": (["ab", "c"], ["a", "bc"]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_differs_is_told_apart(name):
    one, other = OTHERS[name]
    assert of(one) == of(one)
    assert of(one) != of(other)
    assert of(Plain(part=one)) != of(Plain(part=other))
    assert of(closure(one)) != of(closure(other))


def test_a_class_of_ones_own_counts_by_its_code():
    sources = ("def scores(self, x): return x", "def scores(self, x): return -x")
    kinds = [defined(f"class f:\n    {source}") for source in sources]
    assert of(kinds[0]()) != of(kinds[1]())
    bases = [defined(f"class A:\n    {s}\nclass f(A):\n    pass") for s in sources]
    assert of(bases[0]()) != of(bases[1]())
    kept = defined("class f(list):\n    sign = 1"), defined("class f(list):\n    sign = 2")
    assert of(kept[0]([1])) != of(kept[1]([1]))
    enums = [defined(f"import enum\nclass f(enum.Enum):\n    A = {n}").A for n in (1, 2)]
    assert of(enums[0]) != of(enums[1])


def test_globals_count_where_they_are_used():
    used = [defined(f"s = {n}\ndef f(x): return s * x") for n in (1, 2)]
    assert of(used[0]) != of(used[1])
    far = [defined(f"s = {n}\ndef g(x): return s * x\nf = lambda x: g(x)") for n in (1, 2)]
    assert of(far[0]) != of(far[1])
    within = [
        defined(f"s = {n}\ndef f(x):\n    def g(y): return s * y\n    return g(x)") for n in (1, 2)
    ]
    assert of(within[0]) != of(within[1])
    # Control: what is not used does not count.
    unused = [defined(f"s = {n}\ndef f(x): return x") for n in (1, 2)]
    assert of(unused[0]) == of(unused[1])


def test_modules_of_ones_own_count_by_what_is_used_of_them(tmp_path, monkeypatch):
    """An edited file of helpers: huggingface/datasets #5121, of another kind."""

    def helper(number: int) -> types.ModuleType:
        made = types.ModuleType("helper")
        made.__file__ = str(tmp_path / "helper.py")
        source = f"constant = 1\ndef scale(x): return {number} * x\nother = {number}"
        exec(compile(source, made.__file__, "exec"), made.__dict__)
        return made

    def user(source: str, number: int) -> Any:
        f = defined(source)
        f.__globals__["helper"] = helper(number)
        return f

    calls = "def f(x): return helper.scale(x)"
    assert of(user(calls, 1)) != of(user(calls, 2))
    harmless = "def f(x): return helper.constant * x"
    assert of(user(harmless, 1)) == of(user(harmless, 2))
    # Imported where it is called: the file counts.
    monkeypatch.syspath_prepend(tmp_path)
    late = defined("def f(x):\n    import late_helper\n    return late_helper.scale(x)")
    (tmp_path / "late_helper.py").write_text("def scale(x): return x")
    first = of(late)
    (tmp_path / "late_helper.py").write_text("def scale(x): return 2 * x")
    assert of(late) != first


def test_what_is_written_again_is_the_same():
    source = "def f(x, y=(1, 'a')):\n    return [x + z for z in y]"
    assert of(defined(source)) == of(defined("\n\n\n" + source, file="/elsewhere/module.py"))
    assert of(Plain(a=1, b=2)) == of(Plain(b=2, a=1))
    assert of({"a": 1, "b": 2}) == of({"b": 2, "a": 1})
    assert of({"a", "b", "c"}) == of({"c", "b", "a"})

    class Cached:
        @functools.cached_property
        def slow(self) -> int:
            return 1

    fresh, used = Cached(), Cached()
    assert used.slow == 1 and of(fresh) == of(used)


def test_a_change_after_the_fact_is_seen():
    """State that is not seen: a rule that is changed after a run, a closure whose variable is."""
    changed = Callable(1.0)
    before = of(changed)
    changed.sign = 2.0
    assert of(changed) != before
    number = 1.0

    def f(x: Any) -> Any:
        return number * x

    before, number = of(f), 2.0
    assert of(f) != before


def test_circles_and_webs_end():
    circle: list[Any] = []
    circle.append(circle)
    assert of(circle) == of(circle)
    me = Plain()
    me.me = me  # type: ignore[attr-defined]
    assert of(me) != of(Plain())
    # Each function uses all later ones: 2 ** 30 ways through them.
    lines = [
        f"def f{n}(x): return {' + '.join(f'f{m}(x)' for m in range(n))}" for n in range(1, 30)
    ]
    assert of(defined("\n".join(["def f0(x): return x", *lines]), "f29"))
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidArgument, match="nested too deep"):
        of(deep)


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), itertools.count(), iter([1]), (x for x in ()), sys.stdout],
)
def test_what_has_no_content_is_refused_with_the_remedy(value):
    with pytest.raises(InvalidArgument, match="cannot be distinguished from another"):
        identity("ranker", object())
    for holder in (value, Plain(part=value), closure(value), [value], {"a": value}):
        with pytest.raises(InvalidArgument, match=r"make it a dataclass, or give it a `version`"):
            identity("ranker", holder)


def test_a_version_stands_for_what_has_no_content():
    class Served:
        def __init__(self, version: str):
            self.version, self.client = version, threading.Lock()

    assert of(Served("1")) == of(Served("1")) != of(Served("2"))

    class WithoutClient(Plain):
        def __getstate__(self) -> dict[str, Any]:
            return {"name": self.name}  # type: ignore[attr-defined]

    one, same, other = (WithoutClient(name=n, client=threading.Lock()) for n in ("a", "a", "b"))
    assert of(one) == of(same) != of(other)


def test_traced_values_are_refused():
    with pytest.raises(InvalidArgument, match="the traced"):
        jax.jit(lambda x: of(closure(x)))(jnp.ones(()))


def test_a_module_of_weights_counts_by_all_of_them():
    flax = pytest.importorskip("flax.nnx")

    def layer(seed: int) -> Any:
        return flax.Linear(2, 3, rngs=flax.Rngs(seed))

    one, other = layer(0), layer(0)
    assert of(Plain(model=one)) == of(Plain(model=other))
    other.kernel.set_value(other.kernel.get_value().at[0, 0].add(1e-6))
    assert of(Plain(model=one)) != of(Plain(model=other))


def test_other_processes_agree():
    source = f"""
    import sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    import test_identity as here
    print([here.of(one) for one, _ in here.OTHERS.values()])
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(source)]
    said = [
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        for seed in "12"
    ]
    assert said[0].stdout == said[1].stdout and len(said[0].stdout) > 500, said[0].stderr


def test_what_a_function_imports_when_called_counts_however_it_is_written(tmp_path, monkeypatch):
    package = tmp_path / "imported_inside"
    package.mkdir()

    def write(name: str, text: str) -> None:
        (package / f"{name}.py").write_text(text)

    write("__init__", "")
    write("near", "S = 1")
    write("far", "S = 1")
    write("between", "from . import far")
    write(
        "functions",
        "def relative():\n    from .near import S\n    return S\n"
        "def sibling():\n    from . import near\n    return near.S\n"
        "def absolute():\n    from imported_inside import near\n    return near.S\n"
        "def through():\n    import imported_inside.between as m\n    return m.far.S\n",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    functions = importlib.import_module("imported_inside.functions")
    names = ("relative", "sibling", "absolute", "through")

    def found() -> list[str]:
        return [fingerprint("family", getattr(functions, name)) for name in names]

    first = found()
    assert found() == first
    write("near", "S = 100")
    second = found()
    assert [a != b for a, b in zip(first, second, strict=True)] == [True, True, True, False]
    write("far", "S = 2")
    third = found()
    assert [a != b for a, b in zip(second, third, strict=True)] == [False, False, False, True]


def test_what_wraps_a_function_counts_and_a_ufunc_of_one_is_refused():
    class Decorated:
        def __init__(self, function):
            functools.update_wrapper(self, function)  # type: ignore[arg-type]

    def calling(body):
        return type("Decorated", (Decorated,), {"__call__": body})(len)

    one = fingerprint("ranker", calling(lambda self, x: x))
    assert one == fingerprint("ranker", calling(lambda self, x: x))
    assert one != fingerprint("ranker", calling(lambda self, x: -x))
    with pytest.raises(InvalidArgument, match="cannot be distinguished from another"):
        fingerprint("ranker", np.frompyfunc(lambda x: x, 1, 1))
