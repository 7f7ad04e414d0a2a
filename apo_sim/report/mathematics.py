"""Words and LaTeX as HTML with MathML, so that formulas need neither network nor scripts."""

import functools
import re
from collections.abc import Callable
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markupsafe import Markup, escape

PARTS = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|`([^`]+)`|([^$`]+|[$`])", re.DOTALL)
OPENING = {"(", "[", "{", r"\{", r"\left", r"\begin"}
CLOSING = {")", "]", "}", r"\}", r"\right", r"\end"}
RELATIONS = {"=", "<", ">", r"\le", r"\leq", r"\ge", r"\geq", r"\approx", r"\propto", r"\quad"}
LONG = 25  # characters of LaTeX that may well not fit on the rest of a line

# What a formula may consist of. The converter passes on whatever stands in \text, \href or \style,
# so that anything else than these would come from whoever wrote the claim.
SPACE = "{http://www.w3.org/1998/Math/MathML}"
TAGS = """
math mrow mi mo mn ms mtext mspace msup msub msubsup munder mover munderover mfrac msqrt mroot
mtable mtr mtd mstyle mpadded mphantom menclose
"""
ATTRIBUTES = """
display stretchy fence form minsize maxsize separator symmetric largeop movablelimits accent
accentunder lspace rspace width height depth linethickness mathvariant scriptlevel displaystyle
columnalign columnspacing columnlines rowspacing rowlines notation
"""

# A backslash at the end of a line is a space, which the converter knows as one before a space only.
CONTROL_SPACE = re.compile(r"(?<!\\)\\\n")

# What a page can do without.
NUMBERED = re.compile("&#x([0-9A-Fa-f]+);")
GROUP_OF_ONE = re.compile(r"<mrow>(<(m[ino])>[^<]*</\2>)</mrow>")

# What the converter gets wrong, and what MathML wants instead.
FUNCTION = re.compile(r"<(mi|mo)>([A-Za-z]{2,})</\1>(?=(<mo[^>]*>(?:&#x00028;|\()</mo>)?)")
PRIME = re.compile(r"<msup>(<mi[^>]*>[^<]*</mi>)<mi>&#x02032;</mi></msup>")
REPAIRS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # LaTeX sets a thin space around a function's name, but none before its parenthesis.
    (FUNCTION, lambda found: _function(found[2], before_parenthesis=found[3] is not None)),
    # The prime is raised already: as a superscript it is raised twice, and too small to see.
    (PRIME, r'<mrow>\1<mo lspace="0" rspace="0">&#x2032;</mo></mrow>'),
    # A slash is no relation: LaTeX sets it tight.
    (re.compile("<mo>&#x0002F;</mo>"), '<mo lspace="0" rspace="0">/</mo>'),
    # \sim is a relation, not an accent.
    (re.compile(r"<mi>&#x0007E;</mi>"), "<mo>&#x223C;</mo>"),
)


def mathematics(text: str, flat: bool = False) -> Markup:
    """Text as HTML: `$...$` and `$$...$$` become MathML, backticks code, the rest is escaped.

    Args:
        text: words and LaTeX.
        flat: set displayed formulas among the words, for a table.

    Returns:
        Safe markup. LaTeX that cannot be read, or that would become something else than a
        formula (a link, a style, a tag), is shown as it is written.

    Example:
        >>> print(mathematics("a < b"))
        a &lt; b
        >>> "<msup>" in mathematics("$x^2$")
        True
    """
    parts = []
    for displayed, inline, code, words in PARTS.findall(text):
        if displayed and not flat:
            parts.append(_mathml(displayed, "block"))
        elif displayed or inline:
            # A browser breaks lines between formulas, but not inside one.
            pieces = (_mathml(piece, "inline") for piece in breakable(displayed or inline))
            parts.append(Markup("<wbr>").join(pieces))
        elif code:
            parts.append(Markup("<code>{}</code>").format(code))
        else:
            parts.append(escape(words))
    return Markup("").join(parts)


def breakable(latex: str) -> list[str]:
    r"""A formula cut before the relations that stand outside all brackets, if it is long.

    Example:
        >>> breakable(r"f(x = 0) + f(x = 1) \le g(x, y)")
        ['f(x = 0) + f(x = 1)', '\\le g(x, y)']
        >>> breakable("x = 0")
        ['x = 0']
    """
    if len(latex) < LONG:
        return [latex]
    pieces, depth = [""], 0
    for token in re.findall(r"\\[A-Za-z]+|\\.|.", latex, re.DOTALL):
        depth += (token in OPENING) - (token in CLOSING)
        if depth == 0 and token in RELATIONS and pieces[-1].strip():
            pieces.append("")
        pieces[-1] += token
    whole = depth == 0 and not any(piece.strip() in RELATIONS for piece in pieces)
    return [piece.strip() for piece in pieces] if whole else [latex]


@functools.cache
def _mathml(latex: str, display: str) -> Markup:
    try:
        mathml = convert(CONTROL_SPACE.sub(r"\\ ", latex), display=display)
    except Exception:  # the converter raises many kinds; a formula must not cost the page
        return Markup("<code>{}</code>").format(latex)
    # A command that the converter does not know is passed on with its backslash.
    if "\\" in mathml or not _is_formula(mathml):
        return Markup("<code>{}</code>").format(latex)
    for wrong, right in REPAIRS:
        mathml = wrong.sub(right, mathml)
    return Markup(_shortened(mathml))


def _shortened(mathml: str) -> str:
    """The same formula in half the bytes: without what a page of HTML takes for granted."""
    for needless in (f' xmlns="{SPACE[1:-1]}"', ' display="inline"'):
        mathml = mathml.replace(needless, "", 1)
    mathml = NUMBERED.sub(_character, mathml)
    return GROUP_OF_ONE.sub(r"\1", mathml)


def _character(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return found[0] if character in '<>&"' else character


def _is_formula(mathml: str) -> bool:
    """Whether there is nothing but MathML that only shows something."""
    if "<!" in mathml or "<?" in mathml:  # comments and the like, where HTML and XML disagree
        return False
    try:
        elements = list(ElementTree.fromstring(mathml).iter())
    except ElementTree.ParseError:
        return False
    tags, attributes = frozenset(TAGS.split()), frozenset(ATTRIBUTES.split())
    return all(
        element.tag.removeprefix(SPACE) in tags and attributes.issuperset(element.attrib)
        for element in elements
    )


def _function(name: str, before_parenthesis: bool) -> str:
    space = "0" if before_parenthesis else "0.1667em"
    return f'<mo lspace="0.1667em" rspace="{space}">{name}</mo>'
