"""`python -m analysis.report results/quickstart`: figures, their tables and one page of a study, running or done."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace as replace_field
from datetime import UTC, datetime
from pathlib import Path

from analysis.average import AverageError
from analysis.catalogue import FigureError, chosen
from analysis.files import replace
from analysis.findings import claims_section, effects_section, latent_section
from analysis.labels import LabelError
from analysis.latex import latex
from analysis.load import LoadError, Study, load
from analysis.markdown import markdown
from analysis.page import page
from analysis.pictures import KINDS, Picture
from analysis.section import Section as Section
from analysis.section import Table as Table
from analysis.sections import (
    cells_section,
    completeness_section,
    cost_section,
    further_section,
    paper_section,
    study_section,
)
from analysis.state import left_out_in_words, state_in_words
from workers.records import RecordError, VersionError
from workers.store import FIGURES_FOLDER, REPORT

SECTIONS: tuple[Callable[[Study], Section | None], ...] = (
    study_section,
    completeness_section,
    paper_section,
    further_section,
    cells_section,
    effects_section,
    claims_section,
    latent_section,
    cost_section,
)
"""The report in its order; a section that has nothing to say gives None."""

SUMMARY = "report.md"
LEFT_OUT, BAD_INPUT, DAMAGED = 1, 2, 3

Say = Callable[[str], None]


def write_report(
    study: Study, kinds: Sequence[str] = ("png", "pdf"), width_mm: float | None = None, say: Say = lambda words: None
) -> list[Path]:
    """Write a study's figures and tables, its page and its summary; earlier ones are replaced whole.

    Args:
        study: what `load` gave.
        kinds: of figures: png (in any case), pdf, svg.
        width_mm: of every figure; None: each its own.
        say: is told what is done next.

    Returns:
        The files written, the page last.

    Raises:
        OSError: the study's folder is not writable.
    """
    sections = []
    for number, make in enumerate(SECTIONS, 1):
        say(f"section {number} of {len(SECTIONS)}: {make.__name__.removesuffix('_section').replace('_', ' ')}")
        section = make(study)
        if section is not None:
            sections.append(section)
    folder = study.path / FIGURES_FOLDER
    pictures = [picture for section in sections for picture in section.pictures]
    written, images = [], {}
    for number, picture in enumerate(pictures, 1):
        say(f"figure {number} of {len(pictures)}: {picture.name}")
        raw = picture.render(tuple(dict.fromkeys(["png", *kinds])), width_mm)
        images[picture.name] = raw["png"]
        written += _write_picture(folder, picture, raw)
    for section in sections:
        for table in section.tables:
            written.append(replace(folder / f"{table.name}.csv", table.frame.to_csv(index=False).encode()))
            written.append(replace(folder / f"{table.name}.tex", latex(table).encode()))
    if study.missing.empty:
        written.append(replace(folder / "missing.csv", study.missing.to_csv(index=False).encode()))
    made = f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC from {study.url}."
    written.append(replace(study.path / SUMMARY, markdown(study, sections, made).encode()))
    written.append(replace(study.path / REPORT, page(study, sections, images, made).encode()))
    return written


def write_figures(
    study: Study, keys: Sequence[str], kinds: Sequence[str], width_mm: float | None, say: Say = lambda words: None
) -> list[Path]:
    """Write some figures and their tables, and no page.

    Raises:
        FigureError: there is no such figure, or the study has nothing to show in it.
        OSError: the study's folder is not writable.
    """
    written: list[Path] = []
    for entry in chosen(study, keys):
        say(f"figure {entry.key}")
        picture = entry.make() if len(study.epochs) else None
        if picture is not None:
            written += _write_picture(study.path / FIGURES_FOLDER, picture, picture.render(kinds, width_mm))
    if not written:
        raise FigureError(f"--figure {', '.join(keys)}: the study has nothing to show in it yet, or no such cells")
    return written


def _write_picture(folder: Path, picture: Picture, raw: dict[str, bytes]) -> list[Path]:
    files = [replace(folder / f"{picture.name}.{kind}", data) for kind, data in raw.items()]
    return [*files, replace(folder / f"{picture.name}.csv", picture.table.to_csv(index=False).encode())]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__)
    parser.add_argument("study", help="folder of a study, or s3://bucket/prefix/study; it may still be running")
    parser.add_argument("--out", metavar="FOLDER", help="for report and figures; default: the study's folder, or its name")
    parser.add_argument(
        "--figure", action="append", metavar="N", help="only this figure, such as 2.2, 3.3a or spectrum; may be repeated"
    )
    parser.add_argument("--width", type=float, metavar="MM", help="of every figure in mm; type keeps its size")
    parser.add_argument("--labels", metavar="FILE", help="YAML that renames factors and levels; default: labels.yaml there")
    parser.add_argument("--skip-bad", action="store_true", help="go on with what is whole where files are damaged or lost")
    parser.add_argument(
        "--format", default="png,pdf,svg", metavar="KINDS", help=f"of figures: any of {', '.join(KINDS)}; default all"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 written, 1 written but files were left out, 2 bad input, 3 damaged data."""
    asked = _arguments(arguments)
    kinds = [kind.strip() for kind in asked.format.split(",") if kind.strip()]
    if not kinds or not set(kinds) <= set(KINDS):
        return _refuse(f"--format: got {asked.format}; allowed: {', '.join(KINDS)}, separated by commas", BAD_INPUT)
    if asked.width is not None and not 50 <= asked.width <= 1000:
        return _refuse(f"--width: got {asked.width:g}; allowed: 50 to 1000 mm", BAD_INPUT)
    progress = Progress()
    try:
        progress.say(f"reading {asked.study}")
        study = load(asked.study, skip_bad=asked.skip_bad, labels=asked.labels, vectors=True)
        if asked.out:
            study = replace_field(study, path=Path(asked.out))
        if asked.figure:
            written = write_figures(study, asked.figure, kinds, asked.width, progress.say)
        else:
            written = write_report(study, kinds, asked.width, progress.say)
    except (LoadError, LabelError, FigureError, AverageError, VersionError) as error:
        progress.end()
        return _refuse(str(error), BAD_INPUT)
    except RecordError as error:
        progress.end()
        return _refuse(f"{error}; or add --skip-bad to go on without it", DAMAGED)
    except OSError as error:
        progress.end()
        where = error.filename or asked.study
        return _refuse(f"{where}: cannot be written ({error.strerror}); check the disk and its rights", BAD_INPUT)
    progress.end()
    print(f"{study.name}: {state_in_words(study)}")
    for line in left_out_in_words(study):
        print(line)
    if asked.figure:
        print("\n".join(f"wrote {path}" for path in written))
        return LEFT_OUT if study.left_out else 0
    if len(study.missing):
        named = study.path / FIGURES_FOLDER / "missing.csv"
        print(f"{len(study.missing)} trials are missing from the means; they are named in {named} and in the report")
    print(f"wrote {len(written) - 2} files to {study.path / FIGURES_FOLDER}")
    print(f"wrote {written[-2]}")
    print(f"wrote {written[-1]}")
    return LEFT_OUT if study.left_out else 0


def _refuse(words: str, code: int) -> int:
    print(words, file=sys.stderr)
    return code


class Progress:
    """One line on a terminal that is written over; silence elsewhere."""

    def __init__(self) -> None:
        """Nothing is said yet."""
        self.is_terminal = sys.stderr.isatty()

    def say(self, words: str) -> None:
        """What is done next."""
        if self.is_terminal:
            print(f"\r\x1b[2K{words[:100]}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave a clean line."""
        if self.is_terminal:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
