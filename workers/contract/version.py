"""The name and version of the installed package; the version itself is set in pyproject.toml and nowhere else."""

from importlib.metadata import PackageNotFoundError, version

PACKAGE = "factorial-iwae"


def installed_version() -> str | None:
    """The version in the metadata of the installed package; None where only the source is there."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


__version__ = installed_version() or "unknown"
