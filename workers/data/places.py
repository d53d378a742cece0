"""Where the files of data sets lie: paths as users write them in the grid file."""

from pathlib import Path

from workers.contract.errors import CommandError, DataError
from workers.contract.settings import DataSettings
from workers.contract.user_paths import cache_folder, expanded


def root_of(settings: DataSettings) -> Path:
    """Return the folder that holds the files of all data sets but digits and npz.

    Raises:
        DataError: it begins with `~`, and there is no such home folder.
    """
    return place_named("data.root", settings.root) if settings.root else cache_folder()


def place_named(setting: str, path: str) -> Path:
    """Return the path in a setting, in which `~` stands for a home folder.

    Raises:
        DataError: there is no such home folder.
    """
    try:
        return Path(expanded(path))
    except CommandError as error:
        raise DataError(f"{setting}: {error}") from error
