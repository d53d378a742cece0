"""Stored files: folders and buckets with create-only writes, and the names, formats and consistency rules of files."""
