"""The public names, and where each is defined; what is used of them is imported then."""

from .ledger import Ledger as Ledger
from .page import render_page as render_page
from .validate import validate as validate
