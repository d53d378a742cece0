"""The tests: one folder per package and room, and what they share."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The repository."""
