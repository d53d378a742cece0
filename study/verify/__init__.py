"""Runs trials again and compares every number with what is stored."""
