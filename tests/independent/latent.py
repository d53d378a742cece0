"""Recomputes the latent tables' summaries from their rows below: trials from classes, classes from images, the lattice.

What needs a trained model (codes, pixels, cross-entropies of single images) is not computed again.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from tests.independent.comparing import Comparison
from tests.independent.stored import Stored

MEANS = (
    "cross_entropy",
    "reference_cross_entropy",
    "excess_cross_entropy",
    "share_reference_better",
    "knn_purity",
    "silhouette",
)
FEW_IMAGES = 2000
"""Silhouettes are taken of so many images at most; beyond, means over classes are not those over images."""


def beside(path: Path, table: str) -> pd.DataFrame:
    """Read another latent table of the same decoder."""
    return pd.read_csv(path.with_name(f"latent-{table}-{path.stem.rpartition('-')[2]}.csv"))


def trials(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """One row per trial: means over its classes weighted by their images, and rank correlations over classes."""
    seen, classes, lattice = Comparison(path.name), beside(path, "classes"), beside(path, "lattice")
    for printed in table.to_dict("records"):
        key = printed["trial_id"]
        rows = classes[classes["trial_id"] == key]
        images = rows["images"]
        wanted = {"images": images.sum(), "classes": len(rows)}
        if images.sum() <= FEW_IMAGES:
            wanted |= {name: float((rows[name] * images).sum(skipna=False) / images.sum()) for name in MEANS}
        wanted["images_reference_not_better"] = round(float((images * (1 - rows["share_reference_better"])).sum()), 6)
        if rows["excess_cross_entropy"].notna().all():
            for name, column in (("purity", "knn_purity"), ("silhouette", "silhouette")):
                wanted[f"spearman_{name}"] = stats.spearmanr(rows[column], rows["excess_cross_entropy"]).statistic
        else:
            wanted["images_reference_not_better"] = np.nan
        if key in set(lattice["trial_id"]):
            points = lattice[lattice["trial_id"] == key]
            read, near = (points[name].value_counts(normalize=True) for name in ("read_class", "nearest_class"))
            wanted |= {"lattice_points": len(points), "lattice_agreement": points["agrees"].mean()}
            wanted["lattice_agreement_by_chance"] = float((read * near).fillna(0).sum())
            same = points["read_class"] == points["nearest_class"]
            seen.number(f"{key}, points that agree", points["agrees"].sum(), same.sum())
        for side in ("across", "up"):
            if not np.isnan(printed[f"unit_{side}"]):
                wanted[f"activity_{side}"] = study.curve(key, "activity")[-1][int(printed[f"unit_{side}"])]
        seen.row(key, printed, wanted)
    return seen


def classes(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """One row per trial and class: means over its images, where the table of images has that trial."""
    seen, images = Comparison(path.name), beside(path, "images")
    for (key, label), rows in images.groupby(["trial_id", "class"]):
        (printed,) = table[(table["trial_id"] == key) & (table["class"] == label)].to_dict("records")
        wanted = {name: rows[name.replace("share_", "")].mean() for name in MEANS}
        seen.row(f"{key}, class {label}", printed, {**wanted, "images": len(rows)})
    return seen


LATENT: Mapping[str, Callable[[Stored, Path, pd.DataFrame], Comparison]] = {
    "latent-trials": trials,
    "latent-classes": classes,
}
