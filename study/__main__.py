"""Run `python -m study`: the `study` command where it is not installed."""

import sys

from study.commands.main import main

sys.exit(main())
