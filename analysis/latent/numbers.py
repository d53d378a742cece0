"""Computes numbers of the latent space from codes and pixels.

They tell how far classes lie apart, how well they are reconstructed, and whether the lattice of the plane agrees with the
codes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

Floats = NDArray[np.float64]


Ints = NDArray[np.int64]

NEIGHBOURS = 10
"""Number of nearest other codes that `purity` looks at."""

SILHOUETTE_IMAGES = 2_000
"""Silhouettes are computed of this many test images, the first ones, as their cost grows with the square."""

CLASSIFIER_IMAGES = 20_000
"""The classifier learns from this many training images, the first ones."""

CLASSIFIER_NEIGHBOURS = 5

LATTICE, REACH = 20, 3.0
"""Points per side of the lattice, and how far it extends from 0 on both sides; docs/settings.md, row 22."""

STEPS: Floats = np.linspace(-REACH, REACH, 7)
"""Values of a unit in a traversal."""

CLIP = 1e-6
"""Means are kept this far from 0 and 1, as in the workers' test_cross_entropy."""


def cross_entropy(x: Floats, mean: Floats) -> Floats:
    """Return the cross-entropy of Bernoulli pixels with these means, in nats per image, whatever the decoder.

    Args:
        x: [image, pixel] in [0, 1].
        mean: [image, pixel].
    """
    clipped = np.clip(mean, CLIP, 1 - CLIP)
    nats: Floats = -(x * np.log(clipped) + (1 - x) * np.log1p(-clipped)).sum(-1)
    return nats


def purity(codes: Floats, classes: Ints) -> Floats:
    """Return for every code the share of its NEIGHBOURS nearest other codes (Euclidean distance) that are of its class."""
    near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(codes) - 1)).fit(codes).kneighbors(return_distance=False)
    share: Floats = (classes[near] == classes[:, None]).mean(1)
    return share


def silhouettes(codes: Floats, classes: Ints) -> Floats:
    """Return the silhouette (Rousseeuw 1987) of every code by class; NaN beyond the first SILHOUETTE_IMAGES."""
    found = np.full(len(codes), np.nan)
    first = slice(SILHOUETTE_IMAGES)
    if 2 <= len(np.unique(classes[first])) < len(codes[first]):
        found[first] = silhouette_samples(codes[first], classes[first])
    return found


def spearman(a: Floats, b: Floats) -> float:
    """Return Spearman's rho over the pairs without NaN; NaN for fewer than three pairs, or if one side is constant."""
    # Rounded, as means that are equal may differ in their last bit.
    ranks = pd.DataFrame({"a": a, "b": b}).dropna().round(12).rank()
    if len(ranks) < 3 or (ranks.nunique() == 1).any():
        return float("nan")
    return float(np.corrcoef(ranks["a"], ranks["b"])[0, 1])


def lattice(n_units: int, units: tuple[int, ...]) -> Floats:
    """Return points of the latent plane in reading order, from the top left, [point, unit]; all other units are 0.

    Args:
        n_units: number of units of the code.
        units: the unit that runs across, then the unit that runs up; a single unit gives a single row.
    """
    steps = np.linspace(-REACH, REACH, LATTICE)
    up = -steps if len(units) > 1 else np.zeros(1)
    points = np.zeros((len(up) * LATTICE, n_units))
    points[:, units[0]] = np.tile(steps, len(up))
    if len(units) > 1:
        points[:, units[1]] = np.repeat(up, LATTICE)
    return points


def traversal(order: Ints) -> Floats:
    """Return points that move one unit at a time through STEPS, in the given order, others at 0, [unit * step, unit]."""
    points = np.zeros((len(order), len(STEPS), len(order)))
    for rank, unit in enumerate(order):
        points[rank, :, unit] = STEPS
    return points.reshape(-1, len(order))


@dataclass(frozen=True, eq=False)
class Classifier:
    """Reads the class of an image; it was fitted to training images with grey pixels."""

    name: str
    accuracy: float
    """Share of the test images with grey pixels that it reads correctly."""
    model: Any

    def read(self, images: Floats) -> Ints:
        """Return the class of every image; images are [image, pixel]."""
        found: Ints = self.model.predict(images.astype(np.float32)).astype(np.int64)
        return found


def fit_classifier(train: Floats, classes: Ints, test: Floats, test_classes: Ints) -> Classifier:
    """Fit a nearest-neighbour classifier: nothing to tune, nothing random, the same in every study of a data set."""
    train, classes = train[:CLASSIFIER_IMAGES].astype(np.float32), classes[:CLASSIFIER_IMAGES]
    model = KNeighborsClassifier(n_neighbors=min(CLASSIFIER_NEIGHBOURS, len(train))).fit(train, classes)
    read = Classifier(f"{CLASSIFIER_NEIGHBOURS} nearest of {len(train)} training images", float("nan"), model).read(test)
    return Classifier(
        f"{CLASSIFIER_NEIGHBOURS} nearest of {len(train)} training images", float((read == test_classes).mean()), model
    )


def agreement(points: Floats, read: Ints, codes: Floats, classes: Ints) -> pd.DataFrame:
    """Compare what the classifier reads at every lattice point with the class of the nearest code of a test image.

    Returns:
        read_class, nearest_class, distance (to that code, over all units), agrees; one row per point.
    """
    distance, nearest = NearestNeighbors(n_neighbors=1).fit(codes).kneighbors(points)
    near = classes[nearest[:, 0]]
    return pd.DataFrame({"read_class": read, "nearest_class": near, "distance": distance[:, 0], "agrees": read == near})


def plane_row(plane: pd.DataFrame | None, units: tuple[int, ...], classifier: Classifier | None) -> dict[str, Any]:
    """Return the units of the lattice (from 0) and, from `agreement`, how often both maps agree; null without labels.

    Returns:
        unit_across, unit_up; classifier, classifier_accuracy; lattice_points, lattice_agreement,
        lattice_agreement_by_chance (both maps with their own shares of the classes, at unrelated places),
        lattice_points_near (points at most one lattice step from a code), lattice_agreement_near.
    """
    row: dict[str, Any] = {"unit_across": units[0], "unit_up": units[1] if len(units) > 1 else None}
    if plane is None or classifier is None:
        return row
    near = plane[plane["distance"] <= 2 * REACH / (LATTICE - 1)]
    shares = [plane[name].value_counts(normalize=True) for name in ("read_class", "nearest_class")]
    return row | {
        "classifier": classifier.name,
        "classifier_accuracy": classifier.accuracy,
        "lattice_points": len(plane),
        "lattice_agreement": float(plane["agrees"].mean()),
        "lattice_agreement_by_chance": float(shares[0].mul(shares[1], fill_value=0.0).sum()),
        "lattice_points_near": len(near),
        "lattice_agreement_near": float(near["agrees"].mean()) if len(near) else float("nan"),
    }


@dataclass(frozen=True, eq=False)
class Encoded:
    """A trained model on the test images; arrays have one entry per image."""

    facts: Mapping[str, Any]
    """trial_id, and the level of every factor."""
    codes: Floats
    """[image, unit]"""
    cross_entropy: Floats
    purity: Floats
    silhouette: Floats


def image_table(encoded: Encoded, classes: Ints | None, reference: Encoded | None) -> pd.DataFrame:
    """Return one row per test image of a trial, beside the reference: the trial of the usual n_z with the same seed.

    Returns:
        trial_id, n_z, seed, image (its index in the test set), class (null without labels), cross_entropy (nats),
        reference_n_z, reference_cross_entropy, excess_cross_entropy (over the reference; null for the reference itself),
        reference_better (1, 0 or null), knn_purity, silhouette.
    """
    n = len(encoded.cross_entropy)
    other = np.full(n, np.nan) if reference is None else reference.cross_entropy
    excess = encoded.cross_entropy - other
    return pd.DataFrame(
        {
            **{name: [encoded.facts[name]] * n for name in ("trial_id", "n_z", "seed")},
            "image": np.arange(n),
            "class": pd.array(classes if classes is not None else [None] * n, dtype="Int64"),
            "cross_entropy": encoded.cross_entropy,
            "reference_n_z": pd.array([None if reference is None else reference.facts["n_z"]] * n, dtype="Int64"),
            "reference_cross_entropy": other,
            "excess_cross_entropy": excess,
            "reference_better": np.where(np.isnan(excess), np.nan, excess > 0),
            "knn_purity": encoded.purity,
            "silhouette": encoded.silhouette,
        }
    )


_MEANS = ["cross_entropy", "reference_cross_entropy", "excess_cross_entropy", "reference_better", "knn_purity", "silhouette"]


def class_table(encoded: Encoded, images: pd.DataFrame, reference: Encoded | None) -> pd.DataFrame:
    """Return one row per class of a trial, from its `image_table`; no rows without labels.

    Returns:
        trial_id and the factors; class, images (their number), reference_n_z, reference_trial_id, and means over the
        images of the class: cross_entropy, reference_cross_entropy, excess_cross_entropy, share_reference_better,
        knn_purity, silhouette.
    """
    groups = images.dropna(subset=["class"]).groupby("class")
    table = groups[_MEANS].mean().rename(columns={"reference_better": "share_reference_better"}).reset_index()
    table.insert(1, "images", groups.size().to_numpy())
    table.insert(2, "reference_n_z", None if reference is None else reference.facts["n_z"])
    table.insert(3, "reference_trial_id", None if reference is None else reference.facts["trial_id"])
    for place, (name, value) in enumerate(encoded.facts.items()):
        table.insert(place, name, value)
    return table


def trial_row(
    encoded: Encoded,
    images: pd.DataFrame,
    per_class: pd.DataFrame,
    reference: Encoded | None,
    plane: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the row of a trial: means over all test images, and Spearman's rho over its classes.

    Returns:
        trial_id and the factors; images, reference_n_z, reference_trial_id, cross_entropy, reference_cross_entropy,
        excess_cross_entropy, share_reference_better, images_reference_not_better, knn_purity, silhouette, classes;
        spearman_purity and spearman_silhouette with the excess cross-entropy of the classes; then `plane`: the units of
        the lattice and its agreement.
    """
    means = images[_MEANS].mean().rename({"reference_better": "share_reference_better"})
    worse = float("nan") if reference is None else float((images["reference_better"] == 0).sum())
    excess = per_class["excess_cross_entropy"].to_numpy(float)
    return {
        **encoded.facts,
        "images": len(images),
        "reference_n_z": None if reference is None else reference.facts["n_z"],
        "reference_trial_id": None if reference is None else reference.facts["trial_id"],
        **{str(name): value for name, value in means.items()},
        "images_reference_not_better": worse,
        "classes": len(per_class),
        "spearman_purity": spearman(per_class["knn_purity"].to_numpy(float), excess),
        "spearman_silhouette": spearman(per_class["silhouette"].to_numpy(float), excess),
        **plane,
    }


def trial_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Stack rows of `trial_row` into a table, with counts as whole numbers."""
    whole = (
        "reference_n_z",
        "images_reference_not_better",
        "unit_across",
        "unit_up",
        "lattice_points",
        "lattice_points_near",
    )
    table = pd.DataFrame(list(rows))
    return table.astype({name: "Int64" for name in whole if name in table})
