"""Data sets: reads and checks their files, and chooses the images that a study uses. Does not need torch."""
