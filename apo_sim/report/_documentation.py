"""Where the documentation lies, as seen from a report, and which page is about which claim."""

from dataclasses import dataclass
from pathlib import Path

# From a folder of results beside the documentation, as `make validate` makes it. An address on a
# network works here as well: only what is a path of this machine is looked for before it is linked.
BASE = "../docs"
SUFFIX = ".md"


@dataclass(frozen=True)
class Page:
    """A page of the documentation.

    Attributes:
        path: below `BASE`, without its suffix.
        title: what the link says.
        claims: ids of the claims that it is about.
    """

    path: str
    title: str
    claims: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Where a link leads."""
        return f"{BASE}/{self.path}{SUFFIX}"


PAGES = (
    Page("index", "Start here"),
    Page("ideas", "The ideas"),
    Page("findings", "What was found"),
    Page("glossary", "Words with two meanings"),
    Page("how_to/first_claim", "Your first claim"),
    Page("how_to/your_own", "Bring your own"),
    Page("how_to/certificate", "Certify a run", ("N17",)),
    Page("how_to/advise", "Ask for advice", ("N6", "R4.5", "V7", "B4")),
    Page("family_tree", "Family tree of methods", ("F1", "N12")),
    Page("conformance", "What TRL's losses are", ("F7", "F8", "F9")),
    Page(
        "derivations/leading_order", "Derivation: the law of the gap", ("N13", "N14", "N15", "N16")
    ),
)


def pages(folder: Path, claim: str | None = None) -> list[Page]:
    """The pages that are there, seen from a folder of results: all, or those about one claim.

    Args:
        folder: where the report lies.
        claim: an id; None for all pages. Where there is a page of the claim's own (`claims/ID`),
            it comes first.

    Example:
        >>> pages(Path("/nowhere"))
        []
    """
    if claim is None:
        listed = PAGES
    else:
        own = Page(f"claims/{claim}", f"{claim} in full", (claim,))
        listed = (own, *(page for page in PAGES if claim in page.claims))
    return [page for page in listed if _is_there(page, folder)]


def _is_there(page: Page, folder: Path) -> bool:
    return "://" in BASE or (folder / page.address).is_file()
