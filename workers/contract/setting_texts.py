"""Settings that a grid file writes as lists or numbers and that are stored as text: one text for one meaning."""

import re
from collections.abc import Mapping

_CLASS = r'-?\d{1,20}|"[^"\\\x00-\x1f]{1,100}"'

CLASSES = rf"({_CLASS})(,({_CLASS}))*"


def classes_text(value: object) -> object:
    """Return a list of classes as the text that is stored, [3, 1, cat] as `1,3,"cat"`; leave anything else as it is."""
    if isinstance(value, str) and re.fullmatch(CLASSES, value):
        value = named_classes(value)  # the same classes become the same text, in whatever order they are given
    if isinstance(value, list | tuple) and value and all(type(name) in (int, str) for name in value):
        names = {str(name) for name in value}
        numbers = sorted((name for name in names if re.fullmatch(r"0|-?[1-9]\d{0,19}", name)), key=int)
        return ",".join([*numbers, *(f'"{name}"' for name in sorted(names - {*numbers}))])
    return value


def named_classes(text: str) -> tuple[str, ...] | None:
    """Return the names of the classes in the text of `data.classes`, or None for all classes."""
    if text == "all":
        return None
    return tuple(str(int(name)) if name[0] != '"' else name[1:-1] for name in written_classes(text))


def written_classes(text: str) -> list[str]:
    """Return the classes in the text of `data.classes` as a grid file has them, in quotes where they are no numbers."""
    return re.findall(_CLASS, text)


def scale_text(value: object) -> object:
    """Return a number as the text that is stored, 255.0 and "255" as `255`; leave anything else as it is."""
    if isinstance(value, str) and re.fullmatch(r"\d[\d.]*(e[+-]?\d+)?", value):
        value = float(value) if value.count(".") < 2 else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.0f}" if 0 < value < 2**53 and value == int(value) else repr(value)
    return value


def checked_scale(text: str) -> str:
    """Return the text of `data.scale` if it is `auto` or a number above 0.

    Raises:
        ValueError: it is something else.
    """
    if text == "auto" or (re.fullmatch(r"\d[\d.e+-]*", text) and 0 < float(text) < float("inf")):
        return text
    raise ValueError("neither auto nor a number above 0")


def layers_text(value: object) -> object:
    """Return a list of layers {hidden, n_z} as the text that is stored, `100-100-z50`; leave anything else as it is."""
    if isinstance(value, list | tuple) and value and all(_is_layer(layer) for layer in value):
        return "-".join(f"{'-'.join(map(str, layer['hidden']))}-z{layer['n_z']}" for layer in value)
    return value


def _is_layer(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"hidden", "n_z"} and isinstance(value["hidden"], list | tuple)
