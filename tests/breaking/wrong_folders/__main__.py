"""Make folders whose files are whole and yet wrong, and ask everything that reads a study.

    python -m tests.breaking.wrong_folders --folders 2000 --seed 0

A folder is a copy of a small study that was really trained. In it files are swapped, copied, renamed, renumbered, written anew
with other ids, packs, epochs and footers, or come from studies with other seeds, names, measurements, data, epochs or borders;
every checksum is right. One to three such changes are made at once. Counted are: folders that doctor calls whole although
`load` gives other numbers; paths beside the folder that were written or opened; and exceptions that are no error of this
project, from doctor, load, status, the plan of a run, verify up to its training, and export.

Numbers are all rows of `epochs` and `trials` with their settings, and all vectors, but for wall times and devices. Rows may be
absent where the trial is listed as missing, and a trial that is called unfinished may have another goal.

What no reader can notice is not made here: measured values that were changed or traded between epochs, with new checksums;
files without the entry `measure`, as earlier versions wrote them, that come from another study; a study that is consistently
another one; an earlier state of a study; and a file from a study that differs in a setting that rows do not repeat (other
classes of the same data), after all its ids were written anew as ours. The factors in the footer of an entry are their order
and what was crossed, and are not compared.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.breaking.wrong_folders.judge import run
from tests.breaking.wrong_folders.studies import make_all


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folders", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        made = make_all(Path(folder) / "made")
        tally = run(made, asked.folders, asked.seed, Path(folder), lambda line: print(line, flush=True))
    print("\n".join(tally.table()))
    return int(bool(tally.wrong))


if __name__ == "__main__":
    sys.exit(main())
