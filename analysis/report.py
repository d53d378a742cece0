"""`python -m analysis.report results/quickstart`: figures, their tables and one page of a study, running or done."""

import argparse
import os
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from analysis.average import AverageError
from analysis.cells import cell_table
from analysis.contrast import contrasts, usual_base
from analysis.labels import in_words
from analysis.load import LoadError, Study, load
from analysis.page import Section, page, state_in_words
from analysis.pictures import Picture, curve_picture, map_picture
from workers.records import RecordError, VersionError
from workers.store import FIGURES_FOLDER, REPORT

BAD_INPUT, DAMAGED = 2, 3


def write_report(study: Study) -> list[Path]:
    """Write a study's figures (PNG, PDF, and the CSV of what is drawn) and its page; earlier ones are replaced whole.

    Returns:
        The files written, the page last.

    Raises:
        OSError: the study's folder is not writable.
    """
    sections = [section for section in _sections(study) if section.pictures or section.table is not None]
    folder = study.path / FIGURES_FOLDER
    files: dict[Path, bytes] = {}
    for section in sections:
        for picture in section.pictures:
            for kind, raw in picture.files.items():
                files[folder / f"{picture.name}.{kind}"] = raw
            files[folder / f"{picture.name}.csv"] = picture.table.to_csv(index=False).encode()
        if section.table is not None:
            files[folder / f"cells-{section.title.split()[0].lower()}.csv"] = section.table.to_csv(index=False).encode()
    files[folder / "missing.csv"] = study.missing.to_csv(index=False).encode()
    made = f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC from {study.path}."
    files[study.path / REPORT] = page(study, sections, made).encode()
    for path, raw in files.items():
        _replace(path, raw)
    return list(files)


def _sections(study: Study) -> list[Section]:
    decoders = study.factors["decoder"]
    sections = []
    if len(decoders) > 1:
        pictures = _curve_pictures(study, None)
        words = f"Base cell: {in_words(usual_base(study, 'decoder'))}. Nothing is pooled over decoders."
        sections.append(Section("Decoders", words, tuple(pictures), None))
    return sections + [_decoder_section(study, decoder) for decoder in decoders]


def _decoder_section(study: Study, decoder: str) -> Section:
    pictures = _curve_pictures(study, decoder)
    activity = map_picture(study, decoder)
    words = (
        f"One factor at a time; the usual base cell is {in_words(usual_base(study, decoder=decoder))}. Each caption states "
        "the base cell of its figure."
    )
    both = (*pictures, activity) if activity else tuple(pictures)
    return Section(f"{decoder.capitalize()} decoder", words, both, cell_table(study, decoder))


def _curve_pictures(study: Study, decoder: str | None) -> list[Picture]:
    if study.epochs.empty:
        return []
    return [
        curve_picture(study, one, value) for one in contrasts(study, decoder) for value in ("test_bound", "active_units")
    ]


def _replace(path: Path, raw: bytes) -> None:
    """Readers see the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        aside.write_bytes(raw)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 written, 2 bad input, 3 damaged data."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description=__doc__)
    parser.add_argument("study", help="folder of a study, such as results/quickstart; it may still be running")
    path = parser.parse_args(arguments).study
    try:
        study = load(path)
        written = write_report(study)
    except (LoadError, AverageError, VersionError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except RecordError as error:
        print(error, file=sys.stderr)
        return DAMAGED
    except OSError as error:
        print(
            f"{error.filename or path}: cannot be written ({error.strerror}); check the disk and its rights", file=sys.stderr
        )
        return BAD_INPUT
    print(f"{study.name}: {state_in_words(study)}")
    if len(study.missing):
        print(f"{len(study.missing)} trials are missing from the means; they are named in {written[-2]} and in the report")
    print(f"wrote {len(written) - 1} files to {study.path / FIGURES_FOLDER}")
    print(f"wrote {written[-1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
