"""Makes the report's section on the latent space, from pictures that were made before."""

from collections.abc import Mapping
from typing import Any

from analysis.figures.picture import Picture
from analysis.loading.figure_files import read_figure_file, read_figure_table
from analysis.loading.study import Study
from analysis.report.computed import Computed
from analysis.report.section import Section
from workers.store.keys import LATENT_CAPTIONS


def latent_section(computed: Computed) -> Section | None:
    """Show the pictures that `python -m analysis.latent` wrote; None if it has not run."""
    study = computed.study
    captions = read_figure_table(study, LATENT_CAPTIONS, ("name", "title", "caption", "number"), as_text=True)
    if captions is None:
        return None
    pictures = [stored for row in captions.to_dict("records") if (stored := _stored(study, row)) is not None]
    words = "Made from the stored weights by python -m analysis.latent. The code of an image is its posterior mean."
    return Section("Pictures of the latent space", words, pictures) if pictures else None


def _stored(study: Study, row: Mapping[Any, Any]) -> Picture | None:
    files = {kind: raw for kind in ("png", "pdf") if (raw := read_figure_file(study, f"{row['name']}.{kind}")) is not None}
    table = read_figure_table(study, f"{row['name']}.csv")
    if len(files) < 2 or table is None:
        return None
    return Picture(row["name"], row["title"], row["caption"], table, files, is_wide=True, number=row["number"])
