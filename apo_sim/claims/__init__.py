"""The claims under test, one file each; this table is their list and their order.

A claim of your own needs no entry here: decorate its function with `claim`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from apo_sim.claims.registry import Claim as Claim
from apo_sim.claims.registry import catalogue, forget
from apo_sim.claims.registry import check as check
from apo_sim.claims.registry import claim as claim
from apo_sim.claims.registry import describe as describe
from apo_sim.claims.registry import names as names
from apo_sim.claims.scope import Scope as Scope
from apo_sim.claims.verdict import ClaimError as ClaimError
from apo_sim.claims.verdict import Control as Control
from apo_sim.claims.verdict import Finding as Finding
from apo_sim.claims.verdict import Study as Study
from apo_sim.claims.verdict import Verdict as Verdict
from apo_sim.claims.words import Effort as Effort
from apo_sim.claims.words import Origin as Origin
from apo_sim.claims.words import Quantifier as Quantifier
from apo_sim.claims.words import Ruling as Ruling
from apo_sim.estimate import Estimate as Estimate

if TYPE_CHECKING:
    from apo_sim.claims import judge as judge

__all__ = [
    "Claim",
    "ClaimError",
    "Control",
    "Effort",
    "Estimate",
    "Finding",
    "Origin",
    "Quantifier",
    "Ruling",
    "Scope",
    "Study",
    "Verdict",
    "check",
    "claim",
    "describe",
    "forget",
    "judge",
    "names",
]

catalogue(
    {
        # the paper
        "T4.1": "apo_sim.claims.t41",
        "E3.6": "apo_sim.claims.e36",
        "T4.4-opt": "apo_sim.claims.t44_opt",
        "T4.4-stat": "apo_sim.claims.t44_stat",
        "T4.4": "apo_sim.claims.t44",
        "A4.2": "apo_sim.claims.a42",
        "A4.3": "apo_sim.claims.a43",
        "A4.6": "apo_sim.claims.a46",
        "AB.1": "apo_sim.claims.ab1",
        "T4.8-opt": "apo_sim.claims.t48_opt",
        "T4.8": "apo_sim.claims.t48",
        "TB.2": "apo_sim.claims.tb2",
        "LD.1": "apo_sim.claims.ld1",
        "LD.2": "apo_sim.claims.ld2",
        "LC.1": "apo_sim.claims.lc1",
        "LC.2": "apo_sim.claims.lc2",
        "R4.5": "apo_sim.claims.r45",
        "RB.3": "apo_sim.claims.rb3",
        "ExPO": "apo_sim.claims.expo",
        "Tab3": "apo_sim.claims.tab3",
        # its reviews
        "V1": "apo_sim.claims.v1",
        "V2": "apo_sim.claims.v2",
        "V3": "apo_sim.claims.v3",
        "V4": "apo_sim.claims.v4",
        "V4-gain": "apo_sim.claims.v4_gain",
        "V5": "apo_sim.claims.v5",
        "V6": "apo_sim.claims.v6",
        "V7": "apo_sim.claims.v7",
        "V8": "apo_sim.claims.v8",
        "V9": "apo_sim.claims.v9",
        # ours
        "N1": "apo_sim.claims.n1",
        "N2": "apo_sim.claims.n2",
        "N3": "apo_sim.claims.n3",
        "N4": "apo_sim.claims.n4",
        "N5": "apo_sim.claims.n5",
        "N6": "apo_sim.claims.n6",
        "N7": "apo_sim.claims.n7",
        "N8": "apo_sim.claims.n8",
        "N9": "apo_sim.claims.n9",
        "N10": "apo_sim.claims.n10",
        "N11": "apo_sim.claims.n11",
        "N12": "apo_sim.claims.n12",
        "R4.4": "apo_sim.claims.r44",
        "N13": "apo_sim.claims.n13",
        "N14": "apo_sim.claims.n14",
        "N15": "apo_sim.claims.n15",
        "N16": "apo_sim.claims.n16",
        "N17": "apo_sim.claims.n17",
        "N18": "apo_sim.claims.n18",
        "N19": "apo_sim.claims.n19",
        "N20": "apo_sim.claims.n20",
        "N21": "apo_sim.claims.n21",
        "N22": "apo_sim.claims.n22",
        "N23": "apo_sim.claims.n23",
        "V1b": "apo_sim.claims.v1b",
        "B1": "apo_sim.claims.b1",
        "B2": "apo_sim.claims.b2",
        "B3": "apo_sim.claims.b3",
        "B4": "apo_sim.claims.b4",
        # other methods
        "F1": "apo_sim.claims.f1",
        "F2": "apo_sim.claims.f2",
        "F3": "apo_sim.claims.f3",
        "F4": "apo_sim.claims.f4",
        "F5": "apo_sim.claims.f5",
        "F6": "apo_sim.claims.f6",
        "F6b": "apo_sim.claims.f6b",
        "F7": "apo_sim.claims.f7",
        "F8": "apo_sim.claims.f8",
        "F9": "apo_sim.claims.f9",
        "F10": "apo_sim.claims.f10",
        "F11": "apo_sim.claims.f11",
        "F12": "apo_sim.claims.f12",
        "F12-momentum": "apo_sim.claims.f12_momentum",
        "G1": "apo_sim.claims.g1",
        "G2": "apo_sim.claims.g2",
        "G3": "apo_sim.claims.g3",
        "G4": "apo_sim.claims.g4",
        "G5": "apo_sim.claims.g5",
    }
)


def __getattr__(name: str) -> Any:
    if name == "judge":  # needs JAX, which those who list the claims do without
        return importlib.import_module("apo_sim.claims.judge")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
