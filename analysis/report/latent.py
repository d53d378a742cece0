"""Makes the report's section on the latent space, from pictures that were made before."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.figures.picture import Picture
from analysis.loading.study import Study
from analysis.report.section import Section
from workers.store.keys import FIGURES_FOLDER, LATENT_CAPTIONS


def latent_section(study: Study) -> Section | None:
    """Show the pictures that `python -m analysis.latent` wrote; None if it has not run."""
    path = study.path / FIGURES_FOLDER / LATENT_CAPTIONS
    if not path.is_file():
        return None
    captions = pd.read_csv(path, keep_default_na=False, dtype=str)
    pictures = [stored for row in captions.to_dict("records") if (stored := _stored(study, row)) is not None]
    words = "Made from the stored weights by python -m analysis.latent. The code of an image is its posterior mean."
    return Section("Pictures of the latent space", words, pictures) if pictures else None


def _stored(study: Study, row: Mapping[Any, Any]) -> Picture | None:
    folder = study.path / FIGURES_FOLDER
    paths = {kind: folder / f"{row['name']}.{kind}" for kind in ("png", "pdf", "csv")}
    if not all(path.is_file() for path in paths.values()):
        return None
    files = {kind: paths[kind].read_bytes() for kind in ("png", "pdf")}
    table = pd.read_csv(paths["csv"])
    return Picture(row["name"], row["title"], row["caption"], table, files, is_wide=True, number=row["number"])
