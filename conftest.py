"""Double precision, every annotation checked at run time, and how much hypothesis tries."""

import functools
import gc
import hashlib
import importlib
import os
import platform
import re
import time
from pathlib import Path

# Most of the time goes into compiling: programs that are not optimised, emitted in the older way
# and in one piece, take a quarter of it and hardly run slower. Before the import, which may read
# the flags; `XLA_FLAGS= make test` tests the programs of users.
os.environ["XLA_FLAGS"] = os.environ.get(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1",
)
# Each worker has a core, and threads of a pool would wait for one another.
os.environ.setdefault("NPROC", "1")

import jax
import pytest
from hypothesis import HealthCheck, settings
from jax._src.compilation_cache import decompress_executable
from jaxtyping import _decorator, install_import_hook

jax.config.update("jax_enable_x64", True)
install_import_hook("apo_sim", "beartype.beartype")
# Before pytest collects its doctests, which would import the registry twice if it were alone.
importlib.import_module("apo_sim.claims")

STARTED = time.time()
A_MONTH = 30 * 24 * 3600.0


def processor():
    """A name for what this machine's processor can do."""
    described = Path("/proc/cpuinfo")
    known = re.search("(?m)^flags.*$", described.read_text()) if described.exists() else None
    able = f"{platform.machine()} {known and known.group()}"
    return hashlib.sha256(able.encode()).hexdigest()[:12]


def tidy(folder):
    """Remove programs that are old, or were written by halves when a test killed their process."""
    for entry in folder.glob("*-cache"):
        age = STARTED - entry.stat().st_mtime
        if age < 0:
            try:
                decompress_executable(entry.read_bytes())
            except Exception:  # whatever the compression that is installed raises
                entry.unlink(missing_ok=True)
        elif age > A_MONTH:
            entry.unlink(missing_ok=True)


def remembered(function):
    """The function, which answers the same question once."""
    cached = functools.lru_cache(maxsize=2**15)(function)

    def call(*arguments, **named):
        try:
            return cached(*arguments, **named)
        except TypeError:  # something cannot be hashed
            return function(*arguments, **named)

    return call


def when_called(check):
    """The decorator, at work when the function is first called: most of them never are."""

    def later(checker, function):
        made = functools.cache(lambda: check(checker, function))
        return lambda *arguments, **named: made()(*arguments, **named)

    return later


# A function inside of another is made again at each call of that one, and its checks with it, in
# milliseconds. They depend on nothing but its names and annotations.
_decorator._make_fn_with_signature = remembered(_decorator._make_fn_with_signature)
_decorator._apply_typechecker = remembered(when_called(_decorator._apply_typechecker))

# What is compiled once serves all workers, the scripts and notebooks that the tests start, and
# later sessions: small programs as well, of which there are thousands. A program is found by its
# text, its flags and the version of its compiler, on a processor that can do the same.
# `JAX_COMPILATION_CACHE_DIR= make test` compiles each of them anew; a folder that is named there
# is used and left alone.
NAMED = os.environ.get("JAX_COMPILATION_CACHE_DIR")
ROOT = Path(__file__).parent
KEPT = ROOT / ".jax_cache" / processor()
OURS = NAMED is None and os.access(ROOT, os.W_OK)
for name, value in (
    ("compilation_cache_dir", str(KEPT) if OURS else NAMED or ""),
    ("persistent_cache_min_compile_time_secs", 0.0),
):
    jax.config.update(f"jax_{name}", value)
    os.environ[f"JAX_{name.upper()}"] = str(value)

MOST_MAPS = 20_000

# Compilation makes the first example of every property slow, so time says nothing about it.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config):
    """Let strategies run annotated code: beartype looks at a random item of a tuple."""
    config.addinivalue_line(
        "filterwarnings", "ignore:Do not use the `random` module inside strategies"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Give the tests of a file to one worker, which traces once what they share.

    A group of its own keeps a test with those of other files that share more.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(f"{item.path.parent.name}/{item.path.stem}"))


def pytest_collection_finish():
    """Leave what is loaded by now out of every later collection of garbage: a tenth of the time.

    Tracing allocates so much that it is collected over and over among millions of old objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def pytest_runtest_teardown(item, nextitem):
    """Forget compiled programs at the end of a file, before they fill the kernel's table of maps.

    A process may hold 65,530 maps, each program takes some, and the one too many is a crash.
    """
    if nextitem is not None and nextitem.path == item.path:
        return
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()


def pytest_unconfigure():
    """Tidy up the programs that are kept, where this process has chosen their folder."""
    if OURS:
        tidy(KEPT)
