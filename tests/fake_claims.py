"""Small claims of every kind, to test what is made of claims. Imported by worker processes too."""

import contextlib
import os
import time
from unittest import mock

import numpy as np

from apo_sim.claims import Finding, Scope, Study, claim, judge


@contextlib.contextmanager
def as_if_of_the_package():
    """While a page is made that shows them as it shows the package's own claims."""
    with mock.patch("apo_sim.report.page._of_the_reader", lambda ledger: False):
        yield


@claim(
    id="fake-true",
    title="A square is not negative",
    source="ours",
    statement=r"For every $x$: $$-x^2 \le 0.$$",
    control="the sign of $x^2$",
    errata=r"Printed as $x^2 < 0$ <there>.",
)
def true(study: Study) -> Finding:
    x = study.rng().normal(size=study.pick(10, 100))
    return judge.upper_bound(
        x**2 if study.wrong else -(x**2),
        0.0,
        unit="squares",
        witness=lambda worst: {"x": x[worst]},
        draw=lambda figure: figure.subplots().plot(x),
    )


@claim(
    id="fake-false",
    title="Everything is below one",
    source="paper",
    statement="$x < 1$ & <script>alert(1)</script>",
    scope=Scope("for all", "two <numbers>", arms=2, alpha=(0.5, 2.0)),
    control="the repaired bound halved",
    repair="below three",
    defect="it is not <so>",
)
def false(study: Study) -> Finding:
    bound = 3.0 if study.repaired else 1.5 if study.wrong else 1.0
    return judge.upper_bound(
        [0.5, 2.0],
        bound,
        witness=lambda worst: {"x": np.array([0.5, 2.0])[worst], "deep": {"list": [1, np.inf]}},
    )


@claim(
    id="fake-lax", title="No control", source="ours", statement="$1 = 1$", control="nothing at all"
)
def lax(study: Study) -> Finding:
    return judge.identity(0.0, 1.0)


@claim(
    id="fake-map",
    title="Is it below zero?",
    source="reviews",
    statement="Where is $x < 0$?",
    scope=Scope("where", "three cells"),
    control="one more than it is",
    power="one less than it is",
)
def answered(study: Study) -> Finding:
    shift = 1.0 if study.wrong else -1.0 if study.planted else 0.0
    means = {"low": -0.5, "middle": 0.0, "high": 0.5}
    noise = 0.01 * np.array([-1.0, 0.0, 1.0])
    return judge.where(judge.estimates({n: m + shift + noise for n, m in means.items()}))


@claim(
    id="fake-always-failing",
    title="A check that cannot pass",
    source="ours",
    statement="$1 = 1$",
    control="nothing that matters",
    repair="the same again",
)
def always_failing(study: Study) -> Finding:
    return judge.identity(1.0, 0.0, witness={"x": 1.0})


@claim(
    id="fake-weak",
    title="Too few data",
    source="ours",
    statement="$E x < 0$",
    control="the sign",
    power="a hundredth, which three numbers do not show",
)
def weak(study: Study) -> Finding:
    samples = np.array([-1.0, 0.0, 1.0]) - (0.01 if study.planted else 0.0)
    return judge.compare(samples + (9.0 if study.wrong else 0.0), 0.0 * samples)


@claim(
    id="fake-unrepaired",
    title="Fails, and nobody says what holds",
    source="ours",
    statement="$2 < 1$",
    control="the bound halved",
)
def unrepaired(study: Study) -> Finding:
    return judge.upper_bound(2.0, 0.5 if study.wrong else 1.0, witness={"x": 2.0})


@claim(id="fake-raising", title="Raises", source="ours", statement="$1 = 1$", control="none")
def raising(study: Study) -> Finding:
    raise ValueError("no convergence")


@claim(id="fake-nan", title="Not a number", source="ours", statement="$0/0$", control="none")
def nan(study: Study) -> Finding:
    return Finding("holds", measured=float("nan"))


@claim(id="fake-dying", title="Dies", source="ours", statement="$1 = 1$", control="none")
def dying(study: Study) -> Finding:
    os._exit(1)


@claim(id="fake-interrupt", title="Ctrl-C", source="ours", statement="$1 = 1$", control="none")
def interrupt(study: Study) -> Finding:
    raise KeyboardInterrupt


@claim(id="fake-slow", title="Slow", source="ours", statement="$1 = 1$", control="none")
def slow(study: Study) -> Finding:
    time.sleep(120)
    return Finding("fails")


@claim(
    id="fake-undrawn",
    title="Bad figure",
    source="ours",
    statement="$1 = 1$",
    control="the tolerance",
)
def undrawn(study: Study) -> Finding:
    return judge.identity(1.0, 0.5 if study.wrong else 2.0, draw=lambda figure: 1 / 0)
