"""Reads back files that an earlier command wrote into a study's folder of figures."""

import io

import pandas as pd

from analysis.loading.study import LoadError, Study, errors_of
from workers.store.folder import FolderStore
from workers.store.keys import FIGURES_FOLDER


def figure_files(study: Study, beginning: str, ending: str) -> list[str]:
    """Return the sorted names of the files in the folder of figures that begin and end like this.

    Raises:
        LoadError: the folder cannot be read, or is a link that leads out of the study's folder.
    """
    with errors_of(str(study.path)):
        try:
            keys = FolderStore(study.path).list(FIGURES_FOLDER, beginning)
        except NotADirectoryError:
            return []
    return [key.removeprefix(f"{FIGURES_FOLDER}/") for key in keys if key.endswith(ending)]


def read_figure_file(study: Study, name: str) -> bytes | None:
    """Return the bytes of a file in the folder of figures; None if there is none.

    Raises:
        LoadError: the name leads to another folder, or the file is a link that does, or it cannot be read.
    """
    if not name or "/" in name or name.startswith("."):
        raise LoadError(f"{study.path / FIGURES_FOLDER}: names the file {name!r}, which is not in it; write its files again")
    with errors_of(str(study.path)):
        try:
            return FolderStore(study.path).read(f"{FIGURES_FOLDER}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None


def read_figure_table(study: Study, name: str, columns: tuple[str, ...] = (), as_text: bool = False) -> pd.DataFrame | None:
    """Return a CSV file of the folder of figures as a frame; None if there is none.

    Args:
        study: the output of `load`.
        name: the file.
        columns: columns that it must have.
        as_text: whether every entry is a text, and an empty one the empty text.

    Raises:
        LoadError: see read_figure_file, or it is not such a table.
    """
    raw = read_figure_file(study, name)
    if raw is None:
        return None
    try:
        frame = pd.read_csv(io.BytesIO(raw), dtype=str if as_text else None, keep_default_na=not as_text)
        frame[list(columns)]
    except (ValueError, KeyError) as error:
        where = study.path / FIGURES_FOLDER / name
        raise LoadError(f"{where}: is not the table that was written ({error}); remove it, and make it again") from error
    return frame
