"""The command line: one file per subcommand of `study`, each with `add_words` and `carry_out`."""
