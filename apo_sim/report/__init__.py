"""From verdicts to something a person reads: figures, `claims.json` and the page."""

from apo_sim.report.ledger import Ledger as Ledger
from apo_sim.report.page import render_page as render_page
from apo_sim.report.validate import validate as validate

__all__ = ["Ledger", "render_page", "validate"]
