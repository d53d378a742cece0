"""Word parts of error messages: what a setting allows, what was written, what may have been meant."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from workers.contract import yaml_tree as nodes
from workers.contract.errors import close_to
from workers.contract.setting_texts import written_classes
from workers.contract.settings import FACTORS, Frozen, Settings, SettingValue
from workers.contract.settings_table import adapter_of, default_of, flatten
from workers.contract.trial import Trial
from workers.contract.yaml_tree import Node


@dataclass(frozen=True)
class ListWords:
    """Words for a setting that is written as a list and stored as text."""

    things: str
    allowed: str


LISTS: Mapping[str, ListWords] = {
    "data.classes": ListWords("classes", "all, or a list of labels, like [1, 2, 3] or [cat, dog]"),
    "model.layers_above": ListWords(
        "layers",
        "none, a list of layers like [{hidden: [100, 100], n_z: 50}], or in short 100-100-z50; at most 8 layers, each "
        "with 1 to 8 hidden sizes, all from 1 to 9999",
    ),
}


_TEXTS = {"data.scale": "auto or a number above 0"}


@cache
def allowed(name: str, model: type[Frozen] = Settings) -> str:
    """Return the allowed values of a setting, in words."""
    if model is Settings and name in LISTS:
        return LISTS[name].allowed
    if model is Settings and name in _TEXTS:
        return _TEXTS[name]
    return _in_words(adapter_of(name, model).json_schema())


def _in_words(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_in_words(option) for option in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(map(str, schema.get("enum", [schema.get("const")])))
    kind = schema.get("type")
    if kind in ("integer", "number"):
        words = "a whole number" if kind == "integer" else "a number"
        limits = [
            text
            for key, text in (
                ("minimum", "from {}"),
                ("exclusiveMinimum", "above {}"),
                ("maximum", "to {}"),
                ("exclusiveMaximum", "below {}"),
            )
            if key in schema
            for text in [text.format(schema[key])]
        ]
        return " ".join([words, *limits])
    if kind == "array":
        return f"a list of {_in_words(schema['items']).removeprefix('a ').replace('number', 'numbers', 1)}"
    return {"boolean": "true or false", "string": "text", "null": "null"}[str(kind)]


def words_of(name: str, model: type[Frozen]) -> list[str]:
    """Return the words that a setting allows; none if it takes numbers."""
    return list(_words_of(name, model))


@cache
def _words_of(name: str, model: type[Frozen]) -> tuple[str, ...]:
    schema = adapter_of(name, model).json_schema()
    options = schema.get("anyOf", [schema])
    return tuple(
        str(word) for option in options for word in option.get("enum", [option["const"]] if "const" in option else [])
    )


def suggest(key: str, here: Iterable[str], anywhere: Iterable[str]) -> str:
    """Suggest the nearest key allowed here, or the place where this key is allowed, or list all keys allowed here."""
    here = list(here)
    if close := close_to(key, here):
        return close
    homes = [name for name in anywhere if name.rsplit(".", 1)[-1] == key]
    if homes:
        return f"did you mean {homes[0]}?" if "." in homes[0] else f"did you mean factors.{homes[0]}?"
    return f"allowed: {', '.join(here)}"


def allowed_of(words: Iterable[str], got: str) -> str:
    """Return a list of all words, and the nearest one as a suggestion."""
    words = list(words)
    hint = close_to(got, words)
    return f"allowed: {', '.join(words)}" + (f"; {hint}" if hint else "")


def yes_or_no(text: str, name: str, model: type[Frozen]) -> str:
    """Return a suggestion for anyone who writes yes for true or no for false; empty otherwise."""
    if allowed(name, model) == "true or false" and text.lower() in ("yes", "no", "on", "off", "y", "n", "true", "false"):
        return f"; did you mean {'true' if text.lower() in ('yes', 'on', 'y', 'true') else 'false'}?"
    return ""


def shown_of(node: Node) -> str:
    """Return what was written, shortened; text is in quotes."""
    if isinstance(node, nodes.Mapping):
        return "keys and values"
    if isinstance(node, nodes.Sequence):
        return "a list"
    text = node.text if len(node.text) <= 60 else f"{node.text[:57]}..."
    if node.value is None:
        return "nothing"
    return repr(text) if isinstance(node.value, str) else text


def flow_of(node: Node) -> str:
    """Return what was written as one line of YAML, shortened."""
    if isinstance(node, nodes.Sequence):
        text = f"[{', '.join(flow_of(item) for item in node.items)}]"
    elif isinstance(node, nodes.Mapping):
        text = f"{{{', '.join(f'{key}: {flow_of(value)}' for key, (_, value) in node.entries.items())}}}"
    else:
        text = shown_of(node)
    return text if len(text) <= 60 else f"{text[:57]}..."


def shown_level(name: str, level: SettingValue) -> str:
    """Return a value of a setting as it is written in a grid file."""
    if isinstance(level, bool):
        return str(level).lower()
    if name == "data.classes" and level != "all":
        return f"[{', '.join(written_classes(str(level)))}]"
    return str(level)


def words_of_trial(trial: Trial) -> str:
    """Return a trial as text: its cell, its seed and its trial_id."""
    values = flatten(trial.settings)
    told = [name for name, value in values.items() if name in FACTORS or value != default_of(name)]
    cell = " ".join(
        f"{n}={shown_level(n, values[n])}" for n in told if not n.startswith(("data.", "measure.", "training.epochs"))
    )
    return f"{cell} ({trial.trial_id})"
