"""Folders of a study whose files are whole and yet wrong: see __main__.py."""
