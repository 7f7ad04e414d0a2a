"""N17: the certificate holds, is tight, and half of its radius is too little."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from checked import check, group

pytestmark = [group("N17"), pytest.mark.long]


def test_it_holds_and_half_of_it_fails():
    verdict = check("N17")
    assert verdict.verdict == "holds"
    assert verdict.flaw is None
    facts = verdict.facts
    assert facts["runs above the bound, finite-sample"] == 0
    assert facts["median excess at N = 2,000"] < 0.3
    assert facts["median excess at N = 20,000"] < 0.1
    assert 1.5 < facts["finite-sample radius over asymptotic at N = 20,000"] < 3
