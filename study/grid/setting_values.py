"""Read one value of a grid file and check it against its setting."""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from study.grid.hints import LISTS, allowed, flow_of, shown_level, shown_of, words_of, yes_or_no
from study.grid.ranges import is_range, range_of, takes_ranges
from workers.contract import yaml_tree as nodes
from workers.contract.errors import close_to
from workers.contract.settings import NOT_A_FACTOR, Frozen, Level, Settings, SettingValue
from workers.contract.settings_table import adapter_of, default_of
from workers.contract.yaml_tree import Node, Place, Scalar, plain

Note = Callable[[Place, str], None]
"""Receives a problem: its place and its text."""


def read_value(name: str, node: Node, shown: str, note: Note, model: type[Frozen] = Settings) -> tuple[SettingValue, bool]:
    """Return the value of a setting and whether it is valid; a problem is noted."""
    value: Any = None
    is_list = isinstance(node, nodes.Sequence)
    if isinstance(node, Scalar) or (name in LISTS and not _is_levels(node)):
        value = plain(node)
    elif isinstance(node, nodes.Sequence) and isinstance(default_of(name, model), tuple):
        value = tuple(item.value if isinstance(item, Scalar) else None for item in node.items)
    elif is_list and model is Settings:
        where = "list levels under `factors`" if name not in NOT_A_FACTOR else "give one value"
        note(node.place, f"{shown}: got a list; {where}")
        return None, False
    else:
        note(node.place, f"{shown}: got {shown_of(node)}; allowed: {allowed(name, model)}")
        return None, False
    if isinstance(value, str) and not value.isprintable():
        note(node.place, f"{shown}: got {shown_of(node)}; allowed: printable characters")
        return None, False
    try:
        return adapter_of(name, model).validate_python(value), True
    except ValidationError:
        text = node.text if isinstance(node, Scalar) else ""
        words = words_of(name, model)
        hint = f"; {close}" if words and (close := close_to(text, words)) else yes_or_no(text, name, model)
        got = flow_of(node) if name in LISTS else shown_of(node)
        note(node.place, f"{shown}: got {got}; allowed: {allowed(name, model)}{hint}")
        return None, False


def read_levels(name: str, node: Node, shown: str, note: Note) -> list[tuple[Level, Place]]:
    """Return the levels that a node lists, each with its place; a single level or a range (`0..29`) needs no list."""
    is_list = isinstance(node, nodes.Sequence)
    items = node.items if isinstance(node, nodes.Sequence) else (node,)
    if name in LISTS and items and all(map(_is_bare, items)):
        # `[1, 2]` may be one level of two classes or two levels of one class: only the author knows.
        level = flow_of(node) if is_list else f"[{flow_of(node)}]"
        note(node.place, f"{shown}: a level is itself a list of {LISTS[name].things}; write [{level}] for this one level")
        return []
    return _levels(name, items, shown, note, indexed=is_list, with_ranges=True)


def read_level(name: str, node: Node, shown: str, note: Note) -> list[tuple[Level, Place]]:
    """Return the one level that a node holds, with its place; empty if it is wrong."""
    return _levels(name, [node], shown, note, indexed=False)


def _levels(
    name: str, items: Sequence[Node], shown: str, note: Note, *, indexed: bool, with_ranges: bool = False
) -> list[tuple[Level, Place]]:
    levels: list[tuple[Level, Place]] = []
    known: set[Level] = set()
    for i, item in enumerate(items):
        here = f"{shown}[{i}]" if indexed else shown
        if indexed and name in LISTS and _is_bare(item):
            note(
                item.place,
                f"{here}: got {flow_of(item)}; a level is a list of {LISTS[name].things}: write [{flow_of(item)}]",
            )
            continue
        for each in _spread(name, item, here, note) if with_ranges else [item]:
            value, good = read_value(name, each, here, note)
            if good and isinstance(value, bool | int | float | str):
                if value in known:
                    got = shown_level(name, value) if name in LISTS else shown_of(each)
                    note(item.place, f"{here}: {got} is listed twice; keep one")
                known.add(value)
                levels.append((value, item.place))
    return levels


def _spread(name: str, item: Node, here: str, note: Note) -> Sequence[Node]:
    """Return the levels that a range stands for; any other node is one level. A range that is wrong is noted."""
    if not isinstance(item, Scalar) or not is_range(item.text) or name in LISTS or words_of(name, Settings):
        return [item]
    if not takes_ranges(name):
        note(item.place, f"{here}: got {shown_of(item)}; ranges are for factors of whole numbers: list the levels")
        return []
    try:
        return [Scalar(number, str(number), item.place) for number in range_of(item.text)]
    except ValueError as error:
        note(item.place, f"{here}: got {shown_of(item)}; {error}")
        return []


def _is_bare(item: Node) -> bool:
    """Return whether a node is a single class or layer where a level, a list of classes or layers, belongs."""
    return isinstance(item, nodes.Mapping) or (
        isinstance(item, Scalar) and isinstance(item.value, int) and not isinstance(item.value, bool)
    )


def _is_levels(node: Node) -> bool:
    """Return whether a node is a list of lists, which is what a factor takes."""
    return isinstance(node, nodes.Sequence) and bool(node.items) and all(isinstance(i, nodes.Sequence) for i in node.items)
