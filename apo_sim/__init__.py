"""A referee for preference-optimisation theory.

State a claim, and it says whether the claim holds, how tight it is and where it is empty. Its
first subject is Accelerated Preference Optimization (APO).

The public names are those of `__init__.pyi`. Each is imported when it is first used, so that the
command answers before JAX, which takes seconds, could be there.
"""

import lazy_loader

import apo_sim.start as _start  # noqa: F401  (before all others, which may take seconds)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
