"""if-verifiable's instructions: IFEval's, which take a word for a word here, and IFBench's."""

import functools
import importlib
import re
import unittest.mock
from typing import Any


def registry() -> dict[str, Any]:
    """IFEval's instructions: from an id to the class that describes and verifies it."""
    # Without a seed, the guess of the language would differ from call to call.
    importlib.import_module("langdetect").DetectorFactory.seed = 0
    return importlib.import_module("if_verifiable.ifeval.instructions_registry").INSTRUCTION_DICT


def verifiers() -> dict[str, Any]:
    """The same to verify with: words are searched as they are written, and any letter is one.

    The package searches for keywords, section marks and postscripts as regular expressions ("C++"
    is none, and "a.b" finds "aXb"), and in the place of a letter beyond a to z, such as IFEval's
    own "#", it draws another one at random.
    """
    return {**registry(), **_mended(), **of_ifbench()}


@functools.cache
def of_ifbench() -> dict[str, Any]:
    """IFBench's instructions: from an id to the class that verifies it.

    Their module fetches NLTK's data as soon as it is imported; here it does so only where the user
    has (`python -m nltk.downloader`), and whoever needs what is missing is told.
    """
    with unittest.mock.patch("nltk.download"):
        theirs = importlib.import_module(
            "if_verifiable.ifbench.instructions_registry"
        ).INSTRUCTION_DICT

    class Unquoted(theirs["format:quote_unquote"]):
        def check_following(self, value: str) -> bool:
            try:
                return super().check_following(value)
            except IndexError:  # nothing is left without signs and digits: no quote ends it
                return True

    return {**theirs, "format:quote_unquote": Unquoted}


@functools.cache
def _mended() -> dict[str, Any]:
    theirs = registry()

    class Existence(theirs["keywords:existence"]):
        def build_description(self, *, keywords: Any) -> str:
            return super().build_description(keywords=[re.escape(word) for word in keywords])

    class Frequency(theirs["keywords:frequency"]):
        def build_description(self, *, keyword: str, **others: Any) -> str:
            return super().build_description(keyword=re.escape(keyword.strip()), **others)

    class Forbidden(theirs["keywords:forbidden_words"]):
        def check_following(self, value: str) -> bool:
            # A word that begins or ends with a sign has no edge of a word there.
            return not any(
                re.search(rf"(?<!\w){re.escape(word)}(?!\w)", value, flags=re.IGNORECASE)
                for word in self._forbidden_words
            )

    class Letters(theirs["keywords:letter_frequency"]):
        def build_description(self, *, letter: str, **others: Any) -> str:
            text = super().build_description(letter="a", **others)
            self._letter = letter.lower()
            return text

    class Sections(theirs["detectable_format:multiple_sections"]):
        def build_description(self, *, section_spliter: str, **others: Any) -> str:
            mark = re.escape(section_spliter.strip())
            return super().build_description(section_spliter=mark, **others)

    class Postscript(theirs["detectable_content:postscript"]):
        def build_description(self, *, postscript_marker: str) -> str:
            mark = postscript_marker.strip()
            known = mark in ("P.S.", "P.P.S")  # for which the package has patterns
            return super().build_description(postscript_marker=mark if known else re.escape(mark))

    return {
        "keywords:existence": Existence,
        "keywords:frequency": Frequency,
        "keywords:forbidden_words": Forbidden,
        "keywords:letter_frequency": Letters,
        "detectable_format:multiple_sections": Sections,
        "detectable_content:postscript": Postscript,
    }
