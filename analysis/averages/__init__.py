"""Means over seeds with n and what is missing, and what is made of the vectors."""
