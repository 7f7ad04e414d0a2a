"""The version of the package that is installed."""

from importlib import metadata

try:
    __version__ = metadata.version("apo-sim")
except metadata.PackageNotFoundError:  # a source tree that was never installed
    __version__ = "unknown"
