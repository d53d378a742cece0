"""Makes the pictures of the latent space from a scene, each with its files, its caption and the table drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.figures.picture import Picture, render
from analysis.latent import drawing as latent_figures
from analysis.latent.drawing import Row
from analysis.latent.numbers import LATTICE, NEIGHBOURS, REACH, STEPS, Encoded, Floats, Ints
from analysis.loading.labels import in_words

NUMBERS = {"lattice": "4.1", "reconstructions": "4.2", "codes": "4.3"}
"""Figures of the paper, by the stem of their files."""

SHOWN = 10
"""Number of test images in the figure of reconstructions: the first of every class, without any further choice."""

CODES = 1_000
"""Number of codes that are drawn: those of the first test images. The table has all codes."""

UNITS = 90
"""Number of units whose traversals are drawn; if there are more, the most active ones and the last three."""


@dataclass(frozen=True, eq=False)
class Shown:
    """The test images."""

    shape: tuple[int, int]
    inputs: Floats
    """The images as the model sees them, [image, pixel]."""
    grey: Floats
    """The images before binarisation, [image, pixel]."""
    classes: Ints | None
    class_names: tuple[str, ...] | None = None
    """The names of the classes that are drawn as numbers; None if the numbers are the names."""


@dataclass(frozen=True, eq=False)
class Panel:
    """Everything that figures show of one model."""

    encoded: Encoded
    is_deep: bool
    """Whether the model has several stochastic layers; the code is then that of the top layer."""
    activity: Floats
    """Activity of every unit of the code, on the fixed training images."""
    order: Ints
    """Units, the most active first."""
    means: Floats
    """Reconstructions of the test images, [image, pixel]."""
    lattice: Floats
    """[row, column, height, width]; the most active unit runs across, the next one up."""
    points: Floats
    """The codes of the lattice, in the same order, [point, unit]."""
    plane: pd.DataFrame | None
    """The table of `numbers.agreement`; None without labels."""
    traversals: Floats
    """[rank, step, height, width]"""
    numbers: Mapping[str, Any]
    """The columns of `trial_row` that describe the plane."""

    @property
    def n_z(self) -> int:
        """The level of n_z."""
        return int(self.encoded.facts["n_z"])


@dataclass(frozen=True, eq=False)
class Scene:
    """One decoder of a study: the smallest n_z beside the usual one."""

    decoder: str
    base: Mapping[str, Any]
    """The level of every factor except n_z and seed."""
    seed: int
    images: Shown
    panels: Sequence[Panel]
    """The smallest n_z, then the usual one; a single panel if the study has one n_z."""
    per_class: pd.DataFrame
    """The rows of `class_table` of every trial at the base."""
    per_trial: pd.DataFrame
    """The rows of `trial_row` of the same trials."""


def scene_pictures(scene: Scene) -> list[Picture]:
    """Make every figure that the scene has numbers for."""
    with style.our_style():
        made = [_reconstructions(scene), _codes(scene), _lattice(scene), _traversals(scene)]
        if scene.per_class["excess_cross_entropy"].notna().any():
            made.append(_classes(scene))
    return made


def _reconstructions(scene: Scene) -> Picture:
    if scene.images.classes is None:
        chosen = np.arange(min(SHOWN, len(scene.images.inputs)))
        titles = [str(i) for i in chosen]
    else:
        labels, first = np.unique(scene.images.classes, return_index=True)
        chosen, titles = first[:SHOWN], [str(label) for label in labels[:SHOWN]]
    shape = (len(chosen), *scene.images.shape)
    rows = [Row("test image", scene.images.grey[chosen].reshape(shape))]
    if not np.array_equal(scene.images.grey, scene.images.inputs):
        rows.append(Row("as binarised", scene.images.inputs[chosen].reshape(shape)))
    for panel in scene.panels:
        values = panel.encoded.cross_entropy
        rows.append(Row(f"n_z = {panel.n_z}", panel.means[chosen].reshape(shape), values[chosen], _all_images(scene, panel)))
    table = pd.concat(
        [
            pd.DataFrame(
                {
                    "row": row.label,
                    "image": chosen,
                    "class": None if scene.images.classes is None else scene.images.classes[chosen],
                    "cross_entropy": row.values,
                }
            ).join(_pixel_columns(row.images))
            for row in rows
        ],
        ignore_index=True,
    )
    tall = scene.images.shape[0] / scene.images.shape[1]
    figure = Figure(figsize=(7.4, 0.85 + 0.56 * (len(rows) * tall + 0.28 * len(scene.panels))))
    axes = figure.add_axes((0.125, 0.42 / figure.get_figheight(), 0.756, 1 - 0.9 / figure.get_figheight()))
    latent_figures.reconstructions(rows, titles, axes)
    words = (
        "Below each image: cross-entropy (nats), bold where smallest. The first test image of every class; "
        "decoder means of posterior means."
    )
    return _picture(scene, figure, "reconstructions", "Test images and their reconstructions", words, table)


def _codes(scene: Scene) -> Picture:
    figure = Figure(figsize=(3.5 * len(scene.panels) + 0.3, 4.1))
    # Wider apart than usual, as the names of panels would touch the title, and those of axes the note.
    figure.set_layout_engine("constrained", h_pad=0.06)
    parts = []
    for panel in scene.panels:
        codes, units = panel.encoded.codes, panel.order[:2]
        classes: Any = scene.images.classes if scene.images.classes is not None else [None] * len(codes)
        labels = pd.array(classes, dtype="Int64")
        table = pd.DataFrame({"n_z": panel.n_z, "image": np.arange(len(codes)), "class": labels})
        table["across"] = codes[:, units[0]]
        table["up"] = codes[:, units[1]] if len(units) > 1 else _rows_of_classes(codes[:, 0], scene.images.classes)
        table["is_drawn"] = table["image"] < CODES
        parts.append(table.assign(trial_id=panel.encoded.facts["trial_id"]))
    drawn = [table[table["is_drawn"]] for table in parts]
    limit = 1.06 * max(float(table[["across", "up"]].abs().to_numpy(float).max()) for table in drawn)
    places = figure.subplots(1, len(drawn), squeeze=False).flat
    for table, place, panel in zip(drawn, places, scene.panels, strict=True):
        latent_figures.codes(table, place, limit)
        _name_axes(place, panel)
        if len(panel.order) == 1:
            place.set(yticks=[], ylabel="classes, in rows")
        place.set_title(style.typeset(f"n_z = {panel.n_z}"))
    number = min(CODES, len(scene.images.inputs))
    words = f"Posterior means of {number} test images, each as the number of its class; large: its median."
    return _picture(scene, figure, "codes", "Codes of test images", words, pd.concat(parts, ignore_index=True))


def _lattice(scene: Scene) -> Picture:
    panel = scene.panels[0]
    units = panel.order[:2]
    table = pd.DataFrame({"trial_id": panel.encoded.facts["trial_id"], "n_z": panel.n_z}, index=range(len(panel.points)))
    table["z_across"] = panel.points[:, units[0]]
    table["z_up"] = panel.points[:, units[1]] if len(units) > 1 else 0.0
    has_maps = panel.plane is not None and len(units) > 1
    if panel.plane is not None:
        table = table.join(panel.plane)
    table = table.join(_pixel_columns(panel.lattice.reshape(-1, *scene.images.shape)))
    where = "plane of the two most active units" if len(units) > 1 else "line of the one unit"
    words = f"Decoder means on the {where} of n_z = {panel.n_z}, all others at 0."
    side = 4.2 if len(units) > 1 else 0.6
    width, height = 7.4 if has_maps else 5.2, side + 1.35
    figure = Figure(figsize=(width, height))
    large = figure.add_axes((0.55 / width, 0.9 / height, 4.2 / width, side / height))
    latent_figures.lattice(panel.lattice, large, REACH)
    _name_axes(large, panel)
    title = f"The latent plane, decoded: n_z = {panel.n_z}"
    if panel.plane is None or not has_maps:
        return _picture(scene, figure, "lattice", title, words, table)
    # Together as high as the lattice, so that the eye finds the same place.
    read, near = (figure.add_axes((5.3 / width, y / height, 1.9 / width, 1.9 / height)) for y in (3.2, 0.9))
    maps = {name: panel.plane[name].to_numpy().reshape(-1, LATTICE) for name in ("read_class", "nearest_class", "agrees")}
    latent_figures.class_map(maps["read_class"], np.ones_like(maps["agrees"], dtype=bool), read, REACH)
    latent_figures.class_map(maps["nearest_class"], maps["agrees"].astype(bool), near, REACH)
    read.set_title("read by a classifier", fontsize=8.5)
    near.set_title(f"nearest code: {panel.numbers['lattice_agreement']:.0%} agree", fontsize=8.5)
    words += (
        f" On white: the class of the nearest code of a test image\nis not what the classifier reads ("
        f"{panel.numbers['classifier']}; right on {panel.numbers['classifier_accuracy']:.1%} of the test images)."
    )
    return _picture(scene, figure, "lattice", title, words, table)


def _traversals(scene: Scene) -> Picture:
    panel = scene.panels[-1]
    units = len(panel.order)
    ranks = np.arange(units) if units <= UNITS else np.r_[: UNITS - 3, units - 3 : units]
    labels = [_short(panel.activity[panel.order[rank]]) for rank in ranks]
    parts = [
        pd.DataFrame(
            {
                "trial_id": panel.encoded.facts["trial_id"],
                "n_z": panel.n_z,
                "rank": rank + 1,
                "unit": int(panel.order[rank]),
                "activity": panel.activity[panel.order[rank]],
                "z": STEPS,
            }
        ).join(_pixel_columns(panel.traversals[rank]))
        for rank in ranks
    ]
    blocks = min(3, -(-len(ranks) // 10))
    lines = -(-len(ranks) // blocks)
    tall = (scene.images.shape[0] + 1) / (scene.images.shape[1] + 1)
    width = 7.2 if blocks > 1 else 4.6
    figure = Figure(figsize=(width, 0.72 + (lines + 0.9) * tall * 0.98 * width / (blocks * (len(STEPS) + 2.2))))
    axes = figure.add_axes((0.01, 0.42 / figure.get_figheight(), 0.98, 1 - 0.7 / figure.get_figheight()))
    latent_figures.traversals(panel.traversals[ranks], labels, axes, blocks, STEPS)
    left_out = f" {units - UNITS} units before the last three are left out." if units > UNITS else ""
    words = f"n_z = {panel.n_z}, the most active unit first: each from {-REACH:g} to {REACH:g}, all others at 0.{left_out}"
    return _picture(scene, figure, "traversals", "Latent units, one at a time", words, pd.concat(parts, ignore_index=True))


def _classes(scene: Scene) -> Picture:
    few, usual = scene.panels[0].n_z, scene.panels[-1].n_z
    table = scene.per_class[scene.per_class["n_z"] == few]
    figure = Figure(figsize=(4.6, 3.9), layout="constrained")
    axes = figure.add_subplot()
    latent_figures.class_points(table[table["excess_cross_entropy"].notna()], "knn_purity", axes)
    axes.set_xlabel(f"share of the class among the {NEIGHBOURS} nearest codes")
    axes.set_ylabel(style.typeset(f"excess cross-entropy over n_z = {usual} (nats)"))
    seeds = table["seed"].nunique()
    words = f"Large: mean over {seeds} seeds; dots: seeds." if seeds > 1 else "One seed."
    rho = scene.per_trial[scene.per_trial["n_z"] == few]["spearman_purity"].dropna()
    if len(rho):
        low, high = (f"{value:.2f}".replace("-", "\u2212") for value in (rho.min(), rho.max()))
        words += f"\nSpearman's rho over the classes: {low}" + (f" to {high}, by seed." if seeds > 1 else ".")
    return _picture(scene, figure, "classes", f"Classes at n_z = {few}", words, scene.per_class, is_per_seed=False)


def _all_images(scene: Scene, panel: Panel) -> str:
    """Sum up all test images, of which a row shows a sample."""
    row = scene.per_trial[scene.per_trial["trial_id"] == panel.encoded.facts["trial_id"]].iloc[0]
    words = f"all: {row['cross_entropy']:.1f}"
    others = scene.per_trial[scene.per_trial["reference_trial_id"] == row["trial_id"]]
    few = others[others["n_z"] == scene.panels[0].n_z]
    if few.empty:
        return words
    # Counts, as the claim is about every image.
    number = int(row["images"])
    return f"{words}\nbetter on\n{number - int(few['images_reference_not_better'].iloc[0])} of {number}"


def _picture(
    scene: Scene, figure: Figure, stem: str, title: str, words: str, table: pd.DataFrame, is_per_seed: bool = True
) -> Picture:
    base = in_words(scene.base) + (f"; seed {scene.seed}" if is_per_seed else "")
    if names := scene.images.class_names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        words += f"\nClasses: {', '.join(f'{i} {name}' for i, name in enumerate(names[:SHOWN]))}{more}."
    figure.suptitle(style.typeset(title), x=0.012, ha="left", fontsize=10, fontweight="bold")
    note = style.typeset(f"{base}\n{words}")
    look: dict[str, Any] = {"fontsize": 6.8, "color": style.GREY, "va": "bottom"}
    if figure.get_layout_engine() is None:
        figure.text(0.012, 0.01, note, **look)
    else:
        # The layout reserves space for it.
        figure.supxlabel(note, x=0.012, ha="left", **look)
    name, number = f"latent-{stem}-{scene.decoder}", NUMBERS.get(stem, "")
    files = render(figure, title, ("png", "pdf"))
    return Picture(name, title, f"{title}. {base}. {words}", table, files, is_wide=True, number=number)


def _rows_of_classes(codes: Floats, classes: Ints | None) -> Floats:
    """Return the heights at which codes of a single unit are drawn: one row per class, spread over the codes' range."""
    if classes is None:
        return np.zeros(len(codes))
    labels = np.unique(classes)
    heights = np.linspace(1, -1, len(labels)) if len(labels) > 1 else np.zeros(1)
    placed: Floats = np.abs(codes).max() * heights[np.searchsorted(labels, classes)]
    return placed


def _name_axes(axes: Any, panel: Panel) -> None:
    top = "top layer, " if panel.is_deep else ""
    names = [f"{top}unit {unit} (activity {_short(panel.activity[unit])})" for unit in panel.order[:2]]
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1] if len(names) > 1 else "")


def _short(activity: float) -> str:
    return f"{activity:.2f}" if activity >= 0.005 else "0.00"


def _pixel_columns(images: Floats) -> pd.DataFrame:
    """Return pixel_0, pixel_1, ... in reading order, rounded to three digits, which is as fine as grey levels show."""
    flat = images.reshape(len(images), -1).round(3)
    return pd.DataFrame(flat, columns=[f"pixel_{i}" for i in range(flat.shape[1])])
