"""Read the text of a grid file and enumerate the trials of its study."""
