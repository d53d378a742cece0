"""Lists every figure that a study can have, by its number in the paper or by name; each is made when it is requested."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from analysis.averages.average import AverageError
from analysis.averages.one_factor import Cells, Contrast, contrast, map_cells, usual_base
from analysis.figures.captions import methods_base
from analysis.figures.further import (
    effects_picture,
    interactions_picture,
    layers_picture,
    pruning_picture,
    spectrum_picture,
    thresholds_picture,
)
from analysis.figures.map_pictures import map_picture, seeds_picture
from analysis.figures.paper import Methods, curve_picture, panels_picture
from analysis.figures.picture import Picture
from analysis.loading.study import Study
from workers.contract.errors import UserError, close_to

BOUND_FIGURES = {"k": "2.2", "batch_norm": "2.3", "warmup": "2.4", "n_z": "2.5"}

UNIT_PANELS = {"k": "a", "batch_norm": "b", "warmup": "c"}


@dataclass(frozen=True)
class Entry:
    """A figure that can be drawn."""

    key: str
    """The name that `--figure` takes: 2.2, 2.2-gaussian, 3.1a, 3.3-seeds, spectrum, main-effects-gaussian ..."""
    decoder: str | None
    """None if the figure compares decoders."""
    make: Callable[[], Picture | None]
    """Computes the figure and lays it out; returns None where the study has nothing to show."""
    of_paper: bool = False
    is_part: bool = False
    """Whether it is drawn only on request: a panel of another figure, or all seeds of one."""


class FigureError(UserError):
    """The study has no such figure; the message lists those it has."""


def catalogue(study: Study) -> list[Entry]:
    """List all figures: those of the paper first, starting with its decoder. No figure pools over decoders."""
    decoders = study.factors["decoder"]
    first = "bernoulli" if "bernoulli" in decoders else decoders[0]
    entries = list(_of_decoders(study)) if len(decoders) > 1 else []
    for decoder in [first, *(one for one in decoders if one != first)]:
        entries += _of_paper(study, decoder, "" if decoder == first else f"-{decoder}")
    for decoder in [first, *(one for one in decoders if one != first)]:
        entries += _beyond(study, decoder, "" if decoder == first else f"-{decoder}")
    return entries


def chosen(study: Study, keys: Iterable[str]) -> list[Entry]:
    """Return the figures for some keys; 2.2 stands for that figure of every decoder, 3.3 for the whole of 3.3a to d.

    Raises:
        FigureError: the study has no figure of that key.
    """
    entries = catalogue(study)
    found = []
    for key in keys:
        wanted = [entry for entry in entries if entry.key in (key, f"{key}-{entry.decoder}")]
        if not wanted:
            there = [entry.key for entry in entries]
            near = close_to(key, there)
            hint = f"{near} It" if near else "it"
            raise FigureError(f"--figure {key}: the study has no such figure; {hint} has {', '.join(there)}")
        found += [entry for entry in wanted if entry not in found]
    return found


def _of_decoders(study: Study) -> Iterable[Entry]:
    one = contrast(study, "decoder")
    if one is not None:
        yield Entry("2.1", None, partial(curve_picture, study, one, "test_bound", "figure-2.1", "2.1"), of_paper=True)
        yield Entry("active-units-by-decoder", None, partial(curve_picture, study, one, "active_units"))


def _of_paper(study: Study, decoder: str, suffix: str) -> Iterable[Entry]:
    of = f", {study.labels.in_words({'decoder': decoder})}" if suffix else ""
    found = {name: contrast(study, name, decoder) for name in BOUND_FIGURES if len(study.factors[name]) > 1}
    contrasts = {name: one for name, one in found.items() if one is not None}
    for name, varied in contrasts.items():
        number = BOUND_FIGURES[name]
        make = partial(curve_picture, study, varied, "test_bound", f"figure-{number}{suffix}", number + of)
        yield Entry(f"{number}{suffix}", decoder, make, of_paper=True)
    cells = map_cells(study, decoder)
    yield from _unit_panels(study, decoder, suffix, contrasts, cells)
    if one := contrasts.get("n_z"):
        make = partial(curve_picture, study, one, "active_units", f"figure-3.2{suffix}", "3.2" + of)
        yield Entry(f"3.2{suffix}", decoder, make, of_paper=True)
    if cells:
        make_map = partial(map_picture, study, cells, decoder, f"figure-3.3{suffix}", "3.3" + of)
        yield Entry(f"3.3{suffix}", decoder, make_map, of_paper=True)
        letters = dict(zip((title for title, _ in cells), "abcd", strict=False))
        for title, cell in cells:
            number = f"3.3{letters[title]}"
            make_map = partial(map_picture, study, [(title, cell)], decoder, f"figure-{number}{suffix}", number + of)
            yield Entry(f"{number}{suffix}", decoder, make_map, of_paper=True, is_part=True)
        make_map = partial(seeds_picture, study, cells, decoder, f"figure-3.3-seeds{suffix}", "3.3-seeds" + of)
        yield Entry(f"3.3-seeds{suffix}", decoder, make_map, of_paper=True, is_part=True)


def _unit_panels(study: Study, decoder: str, suffix: str, contrasts: dict[str, Contrast], cells: Cells) -> Iterable[Entry]:
    of = f", {study.labels.in_words({'decoder': decoder})}" if suffix else ""
    parts: dict[str, tuple[str, Contrast | Methods]] = {}
    for name, letter in UNIT_PANELS.items():
        if name in contrasts:
            parts[letter] = (study.labels.title_of(name), contrasts[name])
    if len(cells) > 1:
        parts["d"] = ("all methods together", Methods(cells, methods_base(study, usual_base(study, "k", decoder))))
    if parts:
        lettered = [(f"{letter}  {title}", part) for letter, (title, part) in parts.items()]
        make = partial(panels_picture, study, lettered, "active_units", f"figure-3.1{suffix}", "3.1" + of, decoder)
        yield Entry(f"3.1{suffix}", decoder, make, of_paper=True)
    for letter, part in parts.items():
        number = f"3.1{letter}"
        make = partial(panels_picture, study, [part], "active_units", f"figure-{number}{suffix}", number + of, decoder)
        yield Entry(f"{number}{suffix}", decoder, make, of_paper=True, is_part=True)


def _beyond(study: Study, decoder: str, suffix: str) -> Iterable[Entry]:
    for name in study.cell_factors:
        if name != "decoder" and name not in BOUND_FIGURES and (one := contrast(study, name, decoder)):
            for value, stem in (("test_bound", "bound"), ("active_units", "active-units")):
                key = f"{stem}-by-{name.replace('.', '-')}{suffix}"
                yield Entry(key, decoder, partial(curve_picture, study, one, value, key))
    cells = map_cells(study, decoder)
    if cells:
        for key, make in (
            ("thresholds", thresholds_picture),
            ("spectrum", partial(spectrum_picture, column="activity")),
            ("kl", partial(spectrum_picture, column="kl_per_unit")),
            ("pruning", pruning_picture),
            ("layers", layers_picture),
        ):
            yield Entry(f"{key}{suffix}", decoder, partial(make, study, cells, decoder, f"{key}{suffix}"))
        yield Entry(f"kl-map{suffix}", decoder, partial(map_picture, study, cells, decoder, f"kl-map{suffix}", kl=True))
        make_map = partial(seeds_picture, study, cells, decoder, f"kl-map-seeds{suffix}", kl=True)
        yield Entry(f"kl-map-seeds{suffix}", decoder, make_map, is_part=True)
    key = f"main-effects{suffix}"
    yield Entry(key, decoder, partial(_if_full, partial(effects_picture, study, decoder, key)))
    for value in ("nll", "active_units"):
        key = f"interactions-{value.replace('_', '-')}{suffix}"
        yield Entry(key, decoder, partial(_if_full, partial(interactions_picture, study, decoder, key, value)))


def _if_full(make: Callable[[], Picture | None]) -> Picture | None:
    """Return None where the cells are no full product: marginal means would then compare different cells."""
    try:
        return make()
    except AverageError:
        return None
