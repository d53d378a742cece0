"""Renders the report as Markdown: the sections, tables and captions of the page, with pictures as links."""

import re
from collections.abc import Iterable

from analysis.loading.study import Study
from analysis.report.completeness import left_out_in_words, state_in_words
from analysis.report.section import Section, Table
from workers.store.keys import FIGURES_FOLDER


def markdown(study: Study, sections: Iterable[Section], made: str) -> str:
    """Render the whole summary."""
    parts = [f"# {_text(study.name)}", _text(made), f"**{_text(state_in_words(study))}**"]
    if study.left_out:
        parts.append("\n".join(f"- {_text(line)}" for line in left_out_in_words(study)))
    for section in sections:
        parts.append(f"## {_text(section.title)}")
        if section.words:
            parts.append(_text(section.words))
        if section.points:
            parts.append("\n".join(f"- {_text(point)}" for point in section.points))
        for picture in section.pictures:
            number = f"Figure {picture.number}. " if picture.number else ""
            parts.append(
                f"![{_text(picture.title)}]({FIGURES_FOLDER}/{picture.name}.png)\n\n*{number}{_text(picture.caption)}*"
            )
        for table in section.tables:
            parts += [f"### {_text(table.title)}", *([_text(table.words)] if table.words else []), _table(table)]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    texts = table.texts
    rule = ["--:" if is_number else "---" for is_number in table.numeric]
    lines = [list(texts.columns), rule, *texts.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: object) -> str:
    return str(value) if set(str(value)) <= {"-", ":"} else _text(" ".join(str(value).split()))


def _text(words: str) -> str:
    """Escape text, so that names from files never act as markup."""
    return re.sub(r"([\\`*_\[\]<>|$])", r"\\\1", words)
