"""Check where results may go: the folder needs a printable name, and no link in it may lead out of it."""

from pathlib import Path

from workers.contract.errors import CommandError
from workers.contract.user_paths import expanded
from workers.store.folder import leads_out
from workers.store.keys import FOLDERS, study_url


def wrong_with(out: str, study: str) -> str:
    """Return why the results of a study cannot go into a folder of all results; empty if they can.

    Raises:
        OSError: the folder cannot be read.
    """
    if not out or not out.isprintable():
        return f"got {out[:100]!r}; allowed: the name of a folder, in printable characters"
    if "://" in out:
        return ""  # workers.store.open.open_store checks it
    try:
        out = expanded(out)
    except CommandError as error:
        return str(error)
    root, folder = Path(out), Path(study_url(out, study))
    # The folder of all results may itself be a link, to a bigger disk for example.
    for path, around in ((folder, root), *((folder / name, folder) for name in FOLDERS)):
        if leads_out(path, around):
            return f"{path} is a link to {path.resolve()}, outside {around}; remove it, or name another folder"
    return ""
