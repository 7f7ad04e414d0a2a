"""The words of the claims: how one comes out, whose it is, how hard it is tried."""

from enum import StrEnum


class Word(StrEnum):
    """One of a few words, which is that text wherever text is wanted: in JSON, in comparisons.

    Example:
        >>> Ruling.HOLDS == "holds", Ruling("holds")
        (True, 'holds')
    """

    def __repr__(self) -> str:
        return repr(self.value)


class Ruling(Word):
    """What a check says of its claim."""

    HOLDS = "holds"
    FAILS = "fails"
    DEPENDS = "depends"
    VACUOUS = "vacuous"
    NOT_REPRODUCED = "not reproduced"


class Effort(Word):
    """How long a check may take: seconds, or minutes."""

    QUICK = "quick"
    FULL = "full"


class Origin(Word):
    """Who says what is claimed: the paper, its reviewers, or this library."""

    PAPER = "paper"
    REVIEWS = "reviews"
    OURS = "ours"


class Variant(Word):
    """Which statement a run of a check judges, or on what data."""

    STATED = "stated"
    WRONG = "wrong"
    REPAIRED = "repaired"
    PLANTED = "planted"


class Quantifier(Word):
    """How a claim is quantified over its scope, and what that means for the verdict."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> "Quantifier":
        """A word with what it means."""
        made = str.__new__(cls, word)
        made._value_ = word
        made.meaning = meaning
        return made

    FOR_ALL = (
        "for all",
        "the worst of the instances tried decides, and one that was not tried may be worse",
    )
    WITH_PROBABILITY = (
        "with probability",
        "at most a share delta of the data sets may contradict it",
    )
    ON_AVERAGE = (
        "on average",
        "the mean over problems and data decides, in every cell of the scope",
    )
    EXISTS = "exists", "one instance of the scope decides"
    WHERE = "where", "each cell of the scope is decided by itself, and the answer is a map"
