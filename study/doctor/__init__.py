"""Checks of the machine and of every stored file of a study."""

from workers.contract.user_paths import give_matplotlib_a_folder

# When matplotlib is imported, it looks for this folder; in `study` only the contact sheet draws.
give_matplotlib_a_folder()
