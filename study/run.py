"""Run `python -m study.run grid.yaml`. Nothing imports this module: `study.run` is the function for notebooks."""

from study.commands.run import main

if __name__ == "__main__":
    raise SystemExit(main())
