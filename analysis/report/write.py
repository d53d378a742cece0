"""Writes the files of a report: each figure and table in its formats, and the page as HTML and Markdown."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from analysis.figures.catalogue import FigureError, chosen
from analysis.figures.picture import Picture
from analysis.figures.replace_file import make_place, replace
from analysis.loading.csv_text import csv_of
from analysis.loading.study import Study
from analysis.report.claims import claims_section
from analysis.report.computed import Computed
from analysis.report.descriptive import (
    cells_section,
    completeness_section,
    cost_section,
    further_section,
    paper_section,
    study_section,
)
from analysis.report.effects import effects_section
from analysis.report.findings import findings_section
from analysis.report.html import page
from analysis.report.latent import latent_section
from analysis.report.latex import latex
from analysis.report.markdown import markdown
from analysis.report.section import Section as Section
from analysis.report.section import Table as Table
from workers.store.keys import FIGURES_FOLDER, REPORT

SECTIONS: tuple[Callable[[Computed], Section | None], ...] = (
    findings_section,
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
"""The sections in the order of the report; a function returns None if its section would be empty."""

SUMMARY = "report.md"


Say = Callable[[str], None]


def write_report(
    study: Study, kinds: Sequence[str] = ("png", "pdf"), width_mm: float | None = None, say: Say = lambda words: None
) -> list[Path]:
    """Write a study's figures, tables, page and summary; each file replaces an earlier one as a whole.

    Args:
        study: the output of `load`.
        kinds: formats of the figures: png (always written), pdf, svg.
        width_mm: width of every figure; None: its default.
        say: called with a description of the next step.

    Returns:
        The paths of the files, the page last.

    Raises:
        OSError: the study's folder is not writable.
    """
    sections, computed = [], Computed(study)
    for number, make in enumerate(SECTIONS, 1):
        say(f"section {number} of {len(SECTIONS)}: {make.__name__.removesuffix('_section').replace('_', ' ')}")
        section = make(computed)
        if section is not None:
            sections.append(section)
    make_place(study.path, study.url)
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
            written.append(replace(folder / f"{table.name}.csv", csv_of(table.frame)))
            written.append(replace(folder / f"{table.name}.tex", latex(table).encode()))
    if study.missing.empty:
        written.append(replace(folder / "missing.csv", csv_of(study.missing)))
    made = f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC from {study.url}."
    written.append(replace(study.path / SUMMARY, markdown(study, sections, made).encode()))
    written.append(replace(study.path / REPORT, page(study, sections, images, made).encode()))
    return written


def write_figures(
    study: Study, keys: Sequence[str], kinds: Sequence[str], width_mm: float | None, say: Say = lambda words: None
) -> list[Path]:
    """Write some figures and their tables without a page.

    Raises:
        FigureError: the study has no such figure, or nothing to show in it.
        OSError: the study's folder is not writable.
    """
    written: list[Path] = []
    entries = chosen(study, keys)
    make_place(study.path, study.url)
    for entry in entries:
        say(f"figure {entry.key}")
        picture = entry.make() if len(study.epochs) else None
        if picture is not None:
            written += _write_picture(study.path / FIGURES_FOLDER, picture, picture.render(kinds, width_mm))
    if not written:
        raise FigureError(f"--figure {', '.join(keys)}: the study has no results for it yet, or lacks the cells")
    return written


def _write_picture(folder: Path, picture: Picture, raw: dict[str, bytes]) -> list[Path]:
    files = [replace(folder / f"{picture.name}.{kind}", data) for kind, data in raw.items()]
    return [*files, replace(folder / f"{picture.name}.csv", csv_of(picture.table))]
