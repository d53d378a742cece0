"""What is measured of a model: in every epoch, and once at the end."""
