"""The `study` command beside `study run`: watch, stop, verify, examine, export and remove a study; a file a subcommand."""
