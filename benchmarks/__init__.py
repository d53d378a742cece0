"""What is fast and against whom, each with the command that shows it; not installed with the packages."""
