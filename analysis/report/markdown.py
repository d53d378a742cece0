"""Renders the report as Markdown: the sections, tables and captions of the page, with pictures as links."""

import re
from collections.abc import Iterable

from analysis.loading.study import Study
from analysis.report.completeness import left_out_in_words, state_in_words
from analysis.report.section import Section, Table
from workers.contract.errors import one_line
from workers.store.keys import FIGURES_FOLDER


def markdown(study: Study, sections: Iterable[Section], made: str) -> str:
    """Render the whole summary."""
    parts = [f"# {_text(study.name)}", _block(made), f"**{_text(state_in_words(study))}**"]
    if study.left_out:
        parts.append("\n".join(f"- {_text(line)}" for line in left_out_in_words(study)))
    for section in sections:
        parts.append(f"## {_text(section.title)}")
        if section.words:
            parts.append(_block(section.words))
        if section.points:
            parts.append("\n".join(f"- {_text(point)}" for point in section.points))
        for picture in section.pictures:
            number = f"Figure {picture.number}. " if picture.number else ""
            parts.append(
                f"![{_text(picture.title)}]({FIGURES_FOLDER}/{picture.name}.png)\n\n*{number}{_text(picture.caption)}*"
            )
        for table in section.tables:
            parts += [f"### {_text(table.title)}", *([_block(table.words)] if table.words else []), _table(table)]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    texts = table.texts
    rule = ["--:" if is_number else "---" for is_number in table.numeric]
    lines = [[_text(str(value)) for value in line] for line in [list(texts.columns), *texts.to_numpy().tolist()]]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def _block(words: str) -> str:
    """Escape paragraphs, which an empty line separates; none becomes a heading, a list or a quotation."""
    texts = (_text(part) for part in words.split("\n\n") if part.strip())
    return "\n\n".join(re.sub(r"^([#+=~-]|\d+(?=[.)]))", _disarmed, text) for text in texts)


def _disarmed(found: re.Match[str]) -> str:
    # Only punctuation can be escaped, and a number begins a list by what follows it.
    return f"{found[0]}\\" if found[0].isdecimal() else f"\\{found[0]}"


def _text(words: str) -> str:
    """Escape text and put it on one line, so that names from files never act as markup."""
    return re.sub(r"([\\`*_\[\]<>|$&])", r"\\\1", one_line(words))
