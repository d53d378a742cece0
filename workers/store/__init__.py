"""Stored files: folders and buckets with create-only writes, the names and formats of files, and the laws they obey."""
