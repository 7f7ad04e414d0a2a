"""The version of the package that is installed."""

import functools
from importlib import metadata

try:
    __version__ = metadata.version("apo-sim")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    __version__ = "unknown"


def versions(*packages: str) -> dict[str, str]:
    """The installed version of each package, by its name with underscores.

    Example:
        >>> list(versions("numpy", "apo-sim"))
        ['numpy', 'apo_sim']
    """
    return {name.replace("-", "_"): _version(name) for name in packages}


# Each look reads and parses a file.
_version = functools.cache(metadata.version)
