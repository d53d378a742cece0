"""Where results may go: a folder whose name can be shown, and no link in it that leads out of it."""

from pathlib import Path

from workers.store.keys import FOLDERS, study_url


def wrong_with(out: str, study: str) -> str:
    """Why the results of a study cannot go to a folder of all results; empty if they can.

    Raises:
        OSError: the folder cannot be looked at.
    """
    if not out or not out.isprintable():
        return f"got {out[:100]!r}; allowed: the name of a folder, of characters that can be shown"
    if "://" in out:
        return ""  # workers.store.open.open_store has the words
    root, folder = Path(out), Path(study_url(out, study))
    for path in (folder, *(folder / name for name in FOLDERS)):
        # The folder of all results may be a link itself: a bigger disk, say.
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            return f"{path} is a link to {path.resolve()}, outside of {out}; remove it, or name another folder"
    return ""
