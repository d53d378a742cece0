"""The name and version of the installed package, and what must agree between two machines for the same numbers.

The version itself is set in pyproject.toml and nowhere else.
"""

from importlib.metadata import PackageNotFoundError, version

PACKAGE = "factorial-iwae"

SAME_NUMBERS = ("device", "device_name", "instructions", "torch", "numpy", "precision", "generator", "platform")
"""Provenance that must agree for an epoch to have the same bits; otherwise it agrees up to rounding."""


def installed_version() -> str | None:
    """The version in the metadata of the installed package; None where only the source is there."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


__version__ = installed_version() or "unknown"
