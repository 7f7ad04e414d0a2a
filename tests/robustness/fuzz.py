"""Call everything public with hostile values, in processes that may hang or die.

Run as a script:

    python tests/robustness/fuzz.py            # all of it, some minutes
    python tests/robustness/fuzz.py --every 40 # a slice

Every call must end within its time in a result without NaN, or in an error of the library that
names the argument. Each parameter of each public name gets each hostile value while the others
have good ones, then pairs of parameters get two of them.
"""

import argparse
import collections
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))

SECONDS = 120.0
GOOD = ("result", "refused")
# How many calls with two hostile values for each with one.
PAIRS = 0.25
# What messages call an argument beside its name.
_ALIASES = {
    "claim": ("id", "claims"),
    "seed": ("replicate",),
    "policy": ("network",),
    "step": ("training",),
}


@dataclasses.dataclass(frozen=True)
class Call:
    """A public name, and which parameters get which hostile values."""

    place: str
    hostile: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.place}({', '.join(f'{p}=<{v}>' for p, v in self.hostile.items())})"


def calls(every: int = 1, seed: int = 0) -> list[Call]:
    """All calls, or every so many of them, always the same."""
    import hostile
    import surface

    found = []
    draw = random.Random(seed)
    for place, function in surface.names():
        parameters = list(surface.base_call(place, function))
        single = [Call(place, {p: v}) for p in parameters for v in hostile.VALUES]
        found += single
        if len(parameters) > 1:
            for _ in range(int(PAIRS * len(single))):
                chosen = draw.sample(parameters, 2)
                found.append(Call(place, {p: draw.choice([*hostile.VALUES]) for p in chosen}))
    slow = surface.AT_WORK
    found = [c for c in found if not any((c.place, p, v) in slow for p, v in c.hostile.items())]
    return found[::every]


def outcome(call: Call, function: Callable[..., Any]) -> str:
    """What a call comes to: "result", "refused", or what is wrong with it."""
    import hostile
    import surface

    from apo_sim import InvalidArgument
    from apo_sim.claims import ClaimError

    arguments = {n: make() for n, make in surface.base_call(call.place, function).items()}
    arguments.update({name: hostile.VALUES[value]() for name, value in call.hostile.items()})
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = surface.call(function, arguments)
            wrong = nan_in(result)
    except InvalidArgument as error:
        known = {error.argument, *_names_in(error.argument), *_ALIASES.get(error.argument, ())}
        named = known & set(arguments) or any(name in str(error) for name in call.hostile)
        return "refused" if named else f"names {error.argument!r}: {str(error)[:120]}"
    except ClaimError as error:
        named = any(name in str(error) for name in arguments)
        return "refused" if named else f"names nothing: {str(error)[:120]}"
    except ZeroDivisionError as error:
        # What a caller's own function raises is the caller's.
        return "refused" if "caller" in str(error) else f"raw ZeroDivisionError: {error}"
    except Exception as error:
        return f"raw {type(error).__name__}: {_short(error)}"
    return f"NaN in {wrong}" if wrong else "result"


def _names_in(argument: str) -> list[str]:
    return argument.replace("[", " ").replace(".", " ").split()


def _short(error: Exception) -> str:
    try:
        return str(error).splitlines()[0][:120]
    except Exception:
        return "without words"


def nan_in(result: Any) -> str:
    """Where a result holds a number that is none, or ""."""
    import jax
    import numpy as np
    import xarray as xr

    parts: Any = result
    if dataclasses.is_dataclass(parts) and not isinstance(parts, type):
        parts = {f.name: getattr(parts, f.name) for f in dataclasses.fields(parts)}
    elif isinstance(parts, xr.Dataset):
        # Runs shorter than the longest end in NaN, as the docstring says.
        parts = {str(n): array.isel(iteration=0).values for n, array in parts.items()}
    for path, leaf in jax.tree_util.tree_leaves_with_path(parts):
        if isinstance(leaf, float | np.floating | np.ndarray | jax.Array):
            number = jax.numpy.issubdtype(jax.numpy.result_type(leaf), jax.numpy.inexact)
            if number and bool(jax.numpy.isnan(leaf).any()):
                return jax.tree_util.keystr(path) or "the result"
    return ""


def work(first: int, every: int, seed: int) -> None:
    """Make the calls from `first` on, and say on standard output how each went."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import surface

    # Whatever a call writes goes elsewhere: this pipe is for the report.
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    functions = dict(surface.names())
    # Relative paths among the values must not fill the folder that one stands in.
    os.chdir(tempfile.mkdtemp())
    for place, call in enumerate(calls(every, seed)):
        if place >= first:
            report.write(json.dumps({"begins": place}) + "\n")
            found = outcome(call, functions[call.place])
            report.write(json.dumps({"ends": place, "outcome": found}) + "\n")


def run(every: int = 1, seed: int = 0, watch: Callable[[int], None] = lambda n: None) -> list[str]:
    """The outcome of every call; a worker that hangs or dies is replaced."""
    number = len(calls(every, seed))
    outcomes: list[str] = []
    while len(outcomes) < number:
        for found in _worker(len(outcomes), every, seed):
            outcomes.append(found)
            watch(len(outcomes))
    return outcomes


def _worker(first: int, every: int, seed: int) -> Iterator[str]:
    import selectors

    command = [sys.executable, __file__, "--work", str(first)]
    command += ["--every", str(every), "--seed", str(seed)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": ""}
    begun = 0
    buffer = b""
    with tempfile.TemporaryFile() as errors, selectors.DefaultSelector() as ready:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
        assert worker.stdout is not None
        ready.register(worker.stdout, selectors.EVENT_READ)
        try:
            while True:
                # The first answer waits for imports.
                if not ready.select(SECONDS if begun else 4 * SECONDS):
                    yield "hangs"
                    return
                chunk = os.read(worker.stdout.fileno(), 1 << 16)
                if not chunk:
                    if worker.wait() or not begun:
                        errors.seek(0)
                        yield f"dies ({worker.returncode}): {errors.read()[-300:]!r}"
                    return
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    entry = json.loads(line)
                    begun += "begins" in entry
                    if "outcome" in entry:
                        yield entry["outcome"]
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of a public name")
    parser.add_argument("--work", type=int)
    options = parser.parse_args()
    if options.work is not None:
        work(options.work, options.every, options.seed)
        return 0
    from rich.progress import Progress

    asked = calls(options.every, options.seed)
    with Progress() as progress:
        task = progress.add_task("calls", total=len(asked))
        outcomes = run(options.every, options.seed, lambda n: progress.update(task, completed=n))
    bad = [(c, o) for c, o in zip(asked, outcomes, strict=True) if o not in GOOD]
    for call, found in bad:
        print(f"{call}: {found}")
    counts = collections.Counter(found.split(":")[0].split(" in ")[0] for found in outcomes)
    print(f"{len(outcomes)} calls: {dict(counts.most_common())}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
