"""`python -m study`: the `study` command where it is not installed."""

import sys

from study.tools.command import main

sys.exit(main())
