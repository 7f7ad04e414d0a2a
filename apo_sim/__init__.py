"""A referee for preference-optimisation theory.

State a claim, and the library tells you whether it holds, how tight it is and where it is vacuous.
Its first subject is Accelerated Preference Optimization (APO).

The public names are those of `__init__.pyi`. Each is imported when it is first used, so that the
command can answer without waiting seconds for JAX.
"""

import lazy_loader

import apo_sim.start as _start  # noqa: F401  (before all others, which may take seconds)

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
