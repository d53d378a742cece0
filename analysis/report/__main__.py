"""Write the figures, tables and report of a study, finished or running: `python -m analysis.report results/quickstart`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace as replace_field
from pathlib import Path

from analysis.figures.picture import KINDS
from analysis.figures.replace_file import or_elsewhere
from analysis.loading.load import load
from analysis.report.completeness import left_out_in_words, state_in_words
from analysis.report.section import Section as Section
from analysis.report.section import Table as Table
from analysis.report.write import write_figures, write_report
from workers.contract.errors import DONE, INCOMPLETE, CommandError, RecordError, VersionError, exit_code_of, printable, say
from workers.contract.user_paths import expanded
from workers.store.keys import FIGURES_FOLDER


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__)
    parser.add_argument("study", help="folder of a study, or s3://bucket/prefix/study; the study may still be running")
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="where report and figures are written; default: the study's folder; from a bucket: a folder of its name",
    )
    parser.add_argument(
        "--figure",
        action="append",
        metavar="N",
        help="make only this figure, such as 2.2, 3.3a or spectrum; may be repeated",
    )
    parser.add_argument(
        "--width", type=float, metavar="MM", help="width of every figure in mm; the size of type does not change"
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="YAML file that renames factors and levels; default: labels.yaml in the study's folder",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out damaged or lost files and continue with the others"
    )
    parser.add_argument(
        "--format",
        default="png,pdf,svg",
        metavar="KINDS",
        help=f"formats of the figures: any of {', '.join(KINDS)}; default: all",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit codes: 0 written, 1 written but files were left out, 2 bad input, 3 damaged data."""
    asked = _parser().parse_args(arguments)
    return exit_code_of(lambda: _carry_out(asked), needs_output=False)


def _carry_out(asked: argparse.Namespace) -> int:
    kinds = [kind.strip() for kind in asked.format.split(",") if kind.strip()]
    if not kinds or not set(kinds) <= set(KINDS):
        raise CommandError(f"--format: got {asked.format}; allowed: {', '.join(KINDS)}, separated by commas")
    if asked.width is not None and not 50 <= asked.width <= 1000:
        raise CommandError(f"--width: got {asked.width:g}; allowed: 50 to 1000 mm")
    progress = Progress()
    try:
        progress.say(f"reading {asked.study}")
        study = load(asked.study, skip_bad=asked.skip_bad, labels=asked.labels, vectors=True)
        if asked.out:
            study = replace_field(study, path=Path(expanded(asked.out)))
        with or_elsewhere():
            if asked.figure:
                written = write_figures(study, asked.figure, kinds, asked.width, progress.say)
            else:
                written = write_report(study, kinds, asked.width, progress.say)
    except RecordError as error:
        if not isinstance(error, VersionError):
            error.add_note("or add --skip-bad to leave the file out")
        raise
    finally:
        progress.end()
    say(f"{study.name}: {state_in_words(study)}")
    for line in left_out_in_words(study):
        say(line)
    if asked.figure:
        say("\n".join(f"wrote {path}" for path in written))
        return INCOMPLETE if study.left_out else DONE
    if len(study.missing):
        named = study.path / FIGURES_FOLDER / "missing.csv"
        say(f"{len(study.missing)} trials are missing from the means; {named} and the report list them")
    say(f"wrote {len(written) - 2} files to {study.path / FIGURES_FOLDER}")
    say(f"wrote {written[-2]}")
    say(f"wrote {written[-1]}")
    return INCOMPLETE if study.left_out else DONE


class Progress:
    """A progress line on a terminal, overwritten at every step; nothing is printed elsewhere."""

    def __init__(self) -> None:
        """Find out whether stderr is a terminal."""
        self.is_terminal = sys.stderr.isatty()

    def say(self, words: str) -> None:
        """Show the next step."""
        if self.is_terminal:
            print(f"\r\x1b[2K{printable(words[:100])}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line."""
        if self.is_terminal:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
