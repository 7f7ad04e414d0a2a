"""From verdicts to something a person reads: figures, `claims.json` and the page.

The names are those of `__init__.pyi`, and imported when they are first used: a ledger can be read
without what draws the figures.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
