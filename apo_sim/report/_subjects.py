"""Which methods a claim is about, read from its words: what the report can be filtered by."""

import re

from apo_sim.claims.verdict import Verdict

# The paper's own method, which its claims seldom name.
DEFAULT = "APO"
# A method by the name that the report gives it, and how texts write it.
METHODS = {
    DEFAULT: re.compile(r"momentum|extrapolat|nesterov", re.IGNORECASE),
    "DPO": re.compile(r"\bDPO\b"),
    "IPO": re.compile(r"\bIPO\b"),
    "SPPO": re.compile(r"\bSPPO\b"),
    "ExPO": re.compile(r"\bExPO\b"),
    "KTO": re.compile(r"\bKTO\b"),
    "PPO": re.compile(r"\bPPO\b"),
    "RLHF": re.compile(r"\bRLHF\b"),
    "XPO": re.compile(r"\bXPO\b"),
    "χPO": re.compile(r"\bχPO\b|\bChi-PO\b"),
    "pessimism": re.compile(r"pessimis", re.IGNORECASE),
    "NPG": re.compile(r"\bNPG\b"),
    "REBEL": re.compile(r"\bREBEL\b"),
    "MD-VI": re.compile(r"\bMD-VI\b"),
    "DNO": re.compile(r"\bDNO\b"),
    "INPO": re.compile(r"\bINPO\b"),
    "Nash-MD": re.compile(r"\bNash-MD\b"),
    "EGPO": re.compile(r"\bEGPO\b|extragradient", re.IGNORECASE),
    "magnetic mirror descent": re.compile(r"magnetic", re.IGNORECASE),
    "optimistic mirror descent": re.compile(r"optimistic", re.IGNORECASE),
}
_ALPHA = re.compile(r"\\alpha\b|α")


def methods(verdict: Verdict) -> list[str]:
    """The methods that a claim names, or the paper's own where it names none.

    A claim whose scope has an extrapolation is about the paper's method, whatever it names; one
    whose scope has only the extrapolation 0 is so if its statement is made for any alpha.

    Example:
        >>> from apo_sim.claims import check
        >>> methods(check("LD.2"))
        ['APO']
    """
    scope = verdict.scope or {}
    words = " ".join([verdict.id, verdict.title, verdict.statement, scope.get("problems") or ""])
    named = [name for name, pattern in METHODS.items() if pattern.search(words)]
    alpha = scope.get("alpha")
    if alpha is not None:
        extrapolated = alpha != "0" or _ALPHA.search(verdict.statement)
        others = [name for name in named if name != DEFAULT]
        named = [DEFAULT, *others] if extrapolated else others
    return named or [DEFAULT]
