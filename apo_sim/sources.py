"""What stands in the files of modules that are imported, and in those that these import."""

import ast
import dis
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import site
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path


def imported_by(code: types.CodeType, package: str) -> Iterator[str]:
    """The full names of what a function imports when it is called.

    Args:
        code: of the function, and of those within it.
        package: that its module belongs to, for relative imports.
    """
    steps = list(dis.get_instructions(code))
    for place, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            # The two constants before it: how far up a relative import goes, and what it takes.
            level, taken = (steps[place - back].argval for back in (2, 1))
            yield from _targets(step.argval or "", level, taken or (), package)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from imported_by(constant, package)


def sources_of(name: str, seen: set[str] | None = None) -> Iterator[str]:
    """A line for a module: its version if it is installed, else hashes of its file and imports.

    Example:
        >>> list(sources_of("math")) == [f"math {platform.python_version()}"]
        True
    """
    seen = set() if seen is None else seen
    if name in seen:
        return
    seen.add(name)
    file = _file_of(name)
    if file is None or in_package(file):
        yield f"{name} {version_of(name)}"
        return
    text = Path(file).read_bytes()
    yield f"{name} {hashlib.sha256(text).hexdigest()}"
    inside = file.endswith("__init__.py")
    package = name if inside else name.rpartition(".")[0]
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from sources_of(alias.name, seen)
        elif isinstance(node, ast.ImportFrom):
            taken = tuple(alias.name for alias in node.names)
            for target in _targets(node.module or "", node.level, taken, package):
                yield from sources_of(target, seen)


@functools.cache
def in_package(file: str) -> bool:
    """Whether a file belongs to Python, to this library or to an installed package."""
    places = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    places += [*site.getsitepackages(), os.path.dirname(__file__)]
    # What is frozen into Python itself has a name in brackets, and so has what a user types.
    return file.startswith("<frozen ") or any(
        os.path.realpath(file).startswith(os.path.realpath(place) + os.sep) for place in places
    )


@functools.cache
def version_of(module: str) -> str:
    """The version of the package that a module belongs to, Python's for its own; "" for none."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return platform.python_version()
    try:
        return importlib.metadata.version(top.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        # A distribution may be called otherwise than what it holds.
        names = _distributions().get(top, ())
        return " ".join(importlib.metadata.version(name) for name in sorted(set(names)))


# Reading what every distribution holds takes a third of a second.
_distributions = functools.cache(importlib.metadata.packages_distributions)


def _targets(name: str, level: int, taken: tuple[str, ...], package: str) -> Iterator[str]:
    """The module that an import names, and those among what it takes from it."""
    try:
        base = importlib.util.resolve_name("." * level + name, package) if level else name
    except ImportError:
        return
    yield base
    for entry in taken:
        if _file_of(f"{base}.{entry}") is not None:
            yield f"{base}.{entry}"


def _file_of(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec.origin if spec and spec.origin and os.path.isfile(spec.origin) else None
