"""From the text of a grid file to the trials of a study."""
