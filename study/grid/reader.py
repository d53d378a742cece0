"""Read every key and value of a grid file with its place, and note every problem."""

import re
from collections.abc import Iterable, Mapping

from study.grid.hints import allowed_of, shown_level, shown_of, suggest
from study.grid.presets import PRESETS
from study.grid.setting_values import read_level, read_levels, read_value
from workers.contract import yaml_tree as nodes
from workers.contract.settings import NOT_A_FACTOR, Frozen, Level, RunSettings, Settings, SettingValue
from workers.contract.settings_table import leaves
from workers.contract.yaml_tree import Place, Problem, Scalar

ROOMS = ("data", "model", "objective", "training", "measure")
"""The sections of a grid file that hold settings."""

TOP = ("study", "preset", "factors", "exclude", "cells", *ROOMS, "run")

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def written(name: str, value: SettingValue) -> str:
    """Return the key in `Reader.places` for a value that a file gives to a setting."""
    return f"{name}={value!r}"


class Reader:
    """Collects problems while it reads; a wrong value is noted and left out."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Start with the problems of the text itself."""
        self.problems = list(problems)
        self.places: dict[str, Place] = {}
        """The place of every value given to a setting, keyed by `written`; the first place if there are several."""

    def note(self, place: Place, text: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(place, text))

    def keys(self, root: nodes.Mapping) -> None:
        """Note keys that do not belong in a grid file."""
        for name, (place, _) in root.entries.items():
            if name not in TOP:
                self.note(place, f"{name}: no such key; {suggest(name, TOP, leaves())}")

    def study(self, root: nodes.Mapping) -> str:
        """Return the name of the study."""
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

    def preset(self, root: nodes.Mapping) -> Mapping[str, SettingValue]:
        """Return the values of the preset; empty without one."""
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

    def rooms(self, root: nodes.Mapping) -> dict[str, SettingValue]:
        """Return the values that the file sets for the whole study."""
        return {name: value for room in ROOMS for name, value in self.room(root, room, Settings).items()}

    def room(self, root: nodes.Mapping, room: str, model: type[Frozen]) -> dict[str, SettingValue]:
        """Return the values that the file sets in one section."""
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
            value, good = read_value(name, node, f"{room}.{key}", self.note, model)
            if good:
                found[name] = value
                self.places.setdefault(written(f"{room}.{key}", value), node.place)
        return found

    def factors(self, root: nodes.Mapping) -> dict[str, tuple[Level, ...]]:
        """Return the levels of every factor; `seed` is always among them."""
        factors: dict[str, tuple[Level, ...]] = {}
        mapping = self._mapping(root, "factors")
        for name, (place, node) in (mapping.entries if mapping else {}).items():
            if not self._is_factor(name, place, f"factors.{name}"):
                continue
            room, _, key = name.partition(".")
            if key and self._mapping(root, room) and key in self._mapping(root, room).entries:  # type: ignore[union-attr]
                self.note(place, f"factors.{name}: is also set under {room}; keep one")
            if isinstance(node, nodes.Sequence) and not node.items:
                self.note(node.place, f"factors.{name}: got an empty list; give at least one level")
            levels = read_levels(name, node, f"factors.{name}", self.note)
            factors[name] = self._placed(name, levels)
        factors.setdefault("seed", (0,))
        # Not in the file's order: reordering its keys must not reorder the trials.
        return {name: factors[name] for name in leaves() if name in factors}

    def _placed(self, name: str, levels: Iterable[tuple[Level, Place]]) -> tuple[Level, ...]:
        found = []
        for level, place in levels:
            self.places.setdefault(written(name, level), place)
            found.append(level)
        return tuple(found)

    def _is_factor(self, name: str, place: Place, shown: str) -> bool:
        if name not in leaves():
            can = [leaf for leaf in leaves() if leaf not in NOT_A_FACTOR and not leaf.startswith("measure.")]
            self.note(place, f"{shown}: no such setting; {suggest(name, can, leaves())}")
            return False
        reason = _no_factor(name)
        if reason:
            self.note(place, f"{shown}: cannot be a factor: {reason}")
        return not reason

    def exclude(
        self, root: nodes.Mapping, factors: Mapping[str, tuple[Level, ...]]
    ) -> tuple[dict[str, tuple[Level, ...]], ...]:
        """Return the combinations to leave out."""
        found = []
        for i, item in enumerate(self._mappings(root, "exclude")):
            combination: dict[str, tuple[Level, ...]] = {}
            for name, (place, node) in item.entries.items():
                shown = f"exclude[{i}].{name}"
                if name not in factors:
                    self.note(
                        place,
                        f"{shown}: is not a factor of this grid, so it leaves nothing out; {suggest(name, factors, ())}",
                    )
                    continue
                levels = tuple(level for level, _ in read_levels(name, node, shown, self.note))
                there = set(factors[name])
                if unknown := [shown_level(name, level) for level in levels if level not in there]:
                    known = ", ".join(shown_level(name, level) for level in factors[name])
                    self.note(node.place, f"{shown}: {unknown[0]} is not one of its levels; levels: {known}")
                combination[name] = levels
            found.append(combination)
        return tuple(found)

    def cells(self, root: nodes.Mapping) -> tuple[dict[str, Level], ...]:
        """Return the cells named one by one."""
        found = []
        for i, item in enumerate(self._mappings(root, "cells")):
            cell: dict[str, Level] = {}
            for name, (place, node) in item.entries.items():
                shown = f"cells[{i}].{name}"
                if name == "seed":
                    self.note(place, f"{shown}: every cell has all seeds; list them under factors.seed")
                elif self._is_factor(name, place, shown):
                    for level in self._placed(name, read_level(name, node, shown, self.note)):
                        cell[name] = level
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

    def data(self, root: nodes.Mapping, values: Mapping[str, SettingValue]) -> None:
        """Note a data file that is missing or has no effect."""
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
