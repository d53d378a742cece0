"""Means over seeds, with n and what is missing, and summaries of the stored vectors."""
