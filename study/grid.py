"""A grid file becomes a Grid; every problem of a bad one is found at once, with its line and column."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from study import nodes
from study.nodes import Node, Place, Problem, Scalar
from study.presets import PRESETS
from study.wording import allowed, allowed_of, close_to, shown_of, suggest, words_of, yes_or_no
from workers.settings import (
    FACTORS,
    NOT_A_FACTOR,
    Frozen,
    Level,
    RunSettings,
    Settings,
    SettingValue,
    adapter_of,
    build,
    default_of,
    leaves,
    settings_from,
)

ROOMS = ("data", "model", "objective", "training", "measure")
TOP = ("study", "preset", "factors", "exclude", "cells", *ROOMS, "run")
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class GridError(ValueError):
    """A grid file that cannot be run; `problems` has every one."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        """Sort the problems by line."""
        self.problems = tuple(sorted(problems, key=lambda p: (p.place.line, p.place.column)))
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        super().__init__("\n".join([f"{source}: {count}", *map(str, self.problems)]))


@dataclass(frozen=True)
class Grid:
    """What a grid file asks for: the full factorial of the factors' levels around the base settings."""

    study: str
    source: str
    text: str
    factors: Mapping[str, tuple[Level, ...]]
    """Levels by setting, in the order of workers.settings; `seed` is always there."""
    exclude: tuple[Mapping[str, tuple[Level, ...]], ...]
    """Combinations to leave out: a cell that has one of the levels of every name."""
    cells: tuple[Mapping[str, Level], ...]
    """Cells named one by one."""
    base: Settings
    run: RunSettings
    places: Mapping[str, Place]
    """Where the file's top keys stand."""
    one_seed: bool = False
    """Every cell with its first seed only."""

    def place(self, key: str) -> str:
        """Where a top key stands; the file alone if it is not there."""
        return str(self.places.get(key, self.source))


def read_grid(path: str | Path, sets: Iterable[str] = ()) -> Grid:
    """Read a grid file; `sets` are `name=value` that win over it.

    Raises:
        GridError: with every problem of the file and the options.
    """
    source = str(path)
    try:
        text = Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise GridError(source, [Problem(Place(source, 1, 1), f"is no UTF-8 text (byte {error.start})")]) from error
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        here = ", ".join(sorted(p.name for p in Path().glob("*.y*ml"))) or "none"
        raise GridError(source, [Problem(Place(source, 1, 1), f"{reason}; YAML files here: {here}")]) from error
    return parse_grid(text, source, sets)


def parse_grid(text: str, source: str = "grid.yaml", sets: Iterable[str] = ()) -> Grid:
    """A Grid from the text of a grid file; see read_grid."""
    root, problems = nodes.read_nodes(text, source)
    reader = _Reader(problems)
    if isinstance(root, nodes.Mapping):
        grid = reader.grid(reader.with_sets(root, sets), source, text)
        if grid is not None and not reader.problems:
            return grid
    elif root is not None:
        reader.note(root.place, "must be keys and values, like `study: name`")
    raise GridError(source, reader.problems)


class _Reader:
    """Collects problems while it reads; a value that is wrong is noted and left out."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)

    def note(self, place: Place, text: str) -> None:
        self.problems.append(Problem(place, text))

    def with_sets(self, root: nodes.Mapping, sets: Iterable[str]) -> nodes.Mapping:
        for option in sets:
            source = f"--set {option}"
            place = Place(source, 0, 0)
            name, equals, text = option.partition("=")
            if not equals or not name:
                self.note(place, "must be NAME=VALUE, like --set training.epochs=10")
                continue
            node, problems = nodes.read_nodes(text, source)
            self.problems += [Problem(place, problem.text) for problem in problems]
            if node is not None:
                path = ["factors", name] if name in FACTORS else name.split(".", 1)
                root = _put(root, path, _moved(node, place), place)
        return root

    def grid(self, root: nodes.Mapping, source: str, text: str) -> Grid | None:
        for name, (place, _) in root.entries.items():
            if name not in TOP:
                self.note(place, f"{name}: no such key; {suggest(name, TOP, leaves())}")
        study = self._study(root)
        values: dict[str, SettingValue] = dict(self._preset(root))
        for room in ROOMS:
            values |= self._room(root, room, Settings)
        run = self._room(root, "run", RunSettings)
        factors = self._factors(root, values)
        exclude = self._exclude(root, factors)
        cells = self._cells(root)
        self._data(root, values)
        if self.problems:
            return None
        base = settings_from(values)
        places = {name: place for name, (place, _) in root.entries.items()}
        return Grid(study, source, text, factors, exclude, cells, base, RunSettings.model_validate(build(run)), places)

    def _study(self, root: nodes.Mapping) -> str:
        place, node = root.entries.get("study", (root.place, None))
        if node is None:
            self.note(place, "study: is missing; name the study, like `study: quickstart`")
            return ""
        text = node.text if isinstance(node, Scalar) else ""
        if not STUDY_NAME.fullmatch(text):
            self.note(
                node.place,
                f"study: got {shown_of(node)}; allowed: letters, digits, - and _, at most 64, a letter or digit first",
            )
        return text

    def _preset(self, root: nodes.Mapping) -> Mapping[str, SettingValue]:
        _, node = root.entries.get("preset", (None, None))
        if node is None:
            return {}
        name = node.text if isinstance(node, Scalar) else ""
        if name not in PRESETS:
            self.note(node.place, f"preset: got {shown_of(node)}; {allowed_of(PRESETS, name)}")
        return PRESETS.get(name, {})

    def _mapping(self, root: nodes.Mapping, key: str) -> nodes.Mapping | None:
        _, node = root.entries.get(key, (None, None))
        if node is None or (isinstance(node, Scalar) and node.value is None):
            return None
        if not isinstance(node, nodes.Mapping):
            self.note(node.place, f"{key}: got {shown_of(node)}; allowed: keys and values below it")
            return None
        return node

    def _room(self, root: nodes.Mapping, room: str, model: type[Frozen]) -> dict[str, SettingValue]:
        prefix = "" if model is RunSettings else f"{room}."
        known = [name for name in leaves(model) if name.startswith(prefix)]
        found: dict[str, SettingValue] = {}
        mapping = self._mapping(root, room)
        for key, (place, node) in (mapping.entries if mapping else {}).items():
            name = f"{prefix}{key}"
            if name not in known:
                self.note(
                    place,
                    f"{room}.{key}: no such setting; {suggest(key, [n.removeprefix(prefix) for n in known], leaves())}",
                )
                continue
            value, good = self._value(name, node, f"{room}.{key}", model)
            if good:
                found[name] = value
        return found

    def _value(self, name: str, node: Node, shown: str, model: type[Frozen] = Settings) -> tuple[SettingValue, bool]:
        value: Any = None
        if isinstance(node, Scalar):
            value = node.value
        elif isinstance(node, nodes.Sequence) and isinstance(default_of(name, model), tuple):
            value = tuple(item.value if isinstance(item, Scalar) else None for item in node.items)
        elif isinstance(node, nodes.Sequence) and model is Settings:
            where = "list levels under `factors`" if name not in NOT_A_FACTOR else "give one value"
            self.note(node.place, f"{shown}: got a list; {where}")
            return None, False
        else:
            self.note(node.place, f"{shown}: got {shown_of(node)}; allowed: {allowed(name, model)}")
            return None, False
        try:
            return adapter_of(name, model).validate_python(value), True
        except ValidationError:
            text = node.text if isinstance(node, Scalar) else ""
            words = words_of(name, model)
            hint = f"; {close}" if words and (close := close_to(text, words)) else yes_or_no(text, name, model)
            self.note(node.place, f"{shown}: got {shown_of(node)}; allowed: {allowed(name, model)}{hint}")
            return None, False

    def _factors(self, root: nodes.Mapping, values: Mapping[str, SettingValue]) -> dict[str, tuple[Level, ...]]:
        factors: dict[str, tuple[Level, ...]] = {}
        mapping = self._mapping(root, "factors")
        for name, (place, node) in (mapping.entries if mapping else {}).items():
            if not self._is_factor(name, place, f"factors.{name}"):
                continue
            room, _, key = name.partition(".")
            if key and self._mapping(root, room) and key in self._mapping(root, room).entries:  # type: ignore[union-attr]
                self.note(place, f"factors.{name}: is also set under {room}; keep one")
            items = node.items if isinstance(node, nodes.Sequence) else (node,)
            if not items:
                self.note(node.place, f"factors.{name}: got an empty list; give at least one level")
            levels = self._levels(name, items, f"factors.{name}", indexed=isinstance(node, nodes.Sequence))
            factors[name] = tuple(levels)
        factors.setdefault("seed", (0,))
        # Not the file's order: the same grid written otherwise is the same list of trials.
        return {name: factors[name] for name in leaves() if name in factors}

    def _is_factor(self, name: str, place: Place, shown: str) -> bool:
        if name not in leaves():
            can = [leaf for leaf in leaves() if leaf not in NOT_A_FACTOR and not leaf.startswith("measure.")]
            self.note(place, f"{shown}: no such setting; {suggest(name, can, leaves())}")
            return False
        reason = _no_factor(name)
        if reason:
            self.note(place, f"{shown}: cannot be a factor: {reason}")
        return not reason

    def _levels(self, name: str, items: Sequence[Node], shown: str, indexed: bool = True) -> list[Level]:
        levels: list[Level] = []
        for i, item in enumerate(items):
            here = f"{shown}[{i}]" if indexed else shown
            value, good = self._value(name, item, here)
            if good and isinstance(value, bool | int | float | str):
                if value in levels:
                    self.note(item.place, f"{here}: {shown_of(item)} stands twice; keep one")
                levels.append(value)
        return levels

    def _exclude(
        self, root: nodes.Mapping, factors: Mapping[str, tuple[Level, ...]]
    ) -> tuple[dict[str, tuple[Level, ...]], ...]:
        found = []
        for i, item in enumerate(self._mappings(root, "exclude")):
            combination: dict[str, tuple[Level, ...]] = {}
            for name, (place, node) in item.entries.items():
                shown = f"exclude[{i}].{name}"
                if name not in factors:
                    self.note(
                        place, f"{shown}: is no factor of this grid, so it leaves nothing out; {suggest(name, factors, ())}"
                    )
                    continue
                items = node.items if isinstance(node, nodes.Sequence) else (node,)
                levels = self._levels(name, items, shown, indexed=isinstance(node, nodes.Sequence))
                if unknown := [level for level in levels if level not in factors[name]]:
                    known = ", ".join(map(str, factors[name]))
                    self.note(node.place, f"{shown}: {unknown[0]} is no level of it; levels: {known}")
                combination[name] = tuple(levels)
            found.append(combination)
        return tuple(found)

    def _cells(self, root: nodes.Mapping) -> tuple[dict[str, Level], ...]:
        found = []
        for i, item in enumerate(self._mappings(root, "cells")):
            cell: dict[str, Level] = {}
            for name, (place, node) in item.entries.items():
                shown = f"cells[{i}].{name}"
                if name == "seed":
                    self.note(place, f"{shown}: a cell has all seeds; list them under factors.seed")
                elif self._is_factor(name, place, shown) and (levels := self._levels(name, [node], shown, indexed=False)):
                    cell[name] = levels[0]
            found.append(cell)
        return tuple(found)

    def _mappings(self, root: nodes.Mapping, key: str) -> list[nodes.Mapping]:
        _, node = root.entries.get(key, (None, None))
        if node is None or (isinstance(node, Scalar) and node.value is None):
            return []
        if not isinstance(node, nodes.Sequence):
            self.note(node.place, f"{key}: got {shown_of(node)}; allowed: a list of {{factor: level}}")
            return []
        good = []
        for i, item in enumerate(node.items):
            if isinstance(item, nodes.Mapping) and item.entries:
                good.append(item)
            else:
                self.note(
                    item.place,
                    f"{key}[{i}]: got {shown_of(item)}; allowed: {{factor: level}}, like {{decoder: gaussian, k: 5}}",
                )
        return good

    def _data(self, root: nodes.Mapping, values: Mapping[str, SettingValue]) -> None:
        place = root.entries.get("data", (root.place, None))[0]
        name, path = values.get("data.name", "digits"), values.get("data.path")
        if name == "npz" and path is None:
            self.note(place, "data.path: is missing; name the file, like `data: {name: npz, path: mine.npz}`")
        if name != "npz" and path is not None:
            self.note(place, f"data.path: has no effect with `name: {name}`; remove it or write `name: npz`")


def _no_factor(name: str) -> str:
    if name.startswith("measure."):
        return "it changes what is measured, not what is trained; set it for the whole study"
    if name == "training.epochs":
        return "a study can be made longer at any time; set it for the whole study"
    if name in NOT_A_FACTOR:
        return "it has one value for the whole study"
    return ""


def _moved(node: Node, place: Place) -> Node:
    """The same value, said to stand elsewhere."""
    if isinstance(node, Scalar):
        return Scalar(node.value, node.text, place)
    if isinstance(node, nodes.Sequence):
        return nodes.Sequence(tuple(_moved(item, place) for item in node.items), place)
    return nodes.Mapping({key: (place, _moved(value, place)) for key, (_, value) in node.entries.items()}, place)


def _put(root: nodes.Mapping, path: Sequence[str], node: Node, place: Place) -> nodes.Mapping:
    key, *rest = path
    if rest:
        _, below = root.entries.get(key, (place, None))
        inner = below if isinstance(below, nodes.Mapping) else nodes.Mapping({}, place)
        node = _put(inner, rest, node, place)
    at = root.entries[key][0] if key in root.entries else place
    return nodes.Mapping({**root.entries, key: (at, node)}, root.place)
