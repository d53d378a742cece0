"""Reads files of claims and collects all problems in them, each with its place in the file."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from analysis.claims.claim import BASE, LONGEST, Claim, ClaimsError, Part
from analysis.claims.values import ABLATIONS, LATENT_COLUMNS, VALUES
from workers.contract import yaml_tree as nodes
from workers.contract.columns import CURVES, TRIAL_MEASURES, VECTORS
from workers.contract.errors import close_to, reason_of
from workers.contract.settings_table import adapter_of, leaves
from workers.contract.user_paths import expanded
from workers.contract.yaml_tree import FileKind, Node, Place, Problem, Scalar, plain, read_nodes
from workers.store.folder import FileTooLargeError, read_limited

PAPER = Path(__file__).with_name("paper.yaml")


def paper_claims() -> list[Claim]:
    """Return the claims of the paper, C1 to C30."""
    return read_claims(PAPER)


def read_claims(path: str | Path) -> list[Claim]:
    """Return the claims of a file, in its order.

    Raises:
        ClaimsError: the file cannot be read or has problems; names every problem with its place.
    """
    there = expanded(path)
    try:
        text = read_limited(there, _CLAIMS_FILE).decode()
    except FileTooLargeError as error:
        raise ClaimsError([str(error.problem)]) from error
    except (OSError, ValueError) as error:
        # ValueError: a name with a NUL, or bytes that are not text.
        reason = reason_of(error) if isinstance(error, OSError) else "is not UTF-8 text"
        raise ClaimsError([f"{path}: cannot be read ({reason}); name a file of claims"]) from error
    reader = _Reader(str(path))
    claims = reader.claims(text)
    if reader.problems:
        raise ClaimsError([str(one) for one in sorted(reader.problems, key=lambda one: (one.place.line, one.place.column))])
    return claims


_TEXT, _NUMBER, _FLAG, _WHOLE = "a text", "a number", "true or false", "a whole number above 0"

_CLAIM_KEYS = ("id", "text", "cells", "parts", "figure", "where", "primary", "expected", "needs")

_PART_KEYS = ("name", "value", "test", "cells")

_TESTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # The keys that a test needs, and those that it may have.
    "greater": (("margin", "paired"), ("by", "zero_in")),
    "less": (("margin", "paired"), ("by", "zero_in")),
    "above": (("limit",), ()),
    "below": (("limit",), ()),
    "within": (("range",), ()),
    "equal": (("margin", "paired"), ("also",)),
    "uncorrelated": (("margin",), ()),
    "dominates": (("large", "small"), ()),
    "always": (("limit",), ()),
}

_OF_ALL_TRIALS = ("greater", "less", "equal")

_STREAM_ONLY = ("slope", "epochs_to_target", "epochs_to_end", "over_epochs")


_CLAIMS_FILE = FileKind(
    "a file of claims", "some pages of text", "analysis/claims/paper.yaml shows a file of claims", max_bytes=128_000
)

_Table = Mapping[str, tuple[Place, Node]]
"""The entries of a mapping: a key's place and its value."""


class _Reader:
    """Reads one file and collects its problems."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.base: dict[str, Any] = dict(BASE)
        self.paper: dict[str, int] = {}

    def claims(self, text: str) -> list[Claim]:
        root, self.problems = read_nodes(text, self.source, _CLAIMS_FILE)
        if root is None:
            return []
        top = self._table(root, "the file", ("claims",), ("base", "paper"))
        if "base" in top:
            self.base.update(self._cell(top["base"][1], "base"))
        if "paper" in top:
            lengths = self._table(top["paper"][1], "paper", (), ("epochs", "warmup"))
            self.paper = {key: self._of(lengths, key, _WHOLE, 1) for key in lengths if key in ("epochs", "warmup")}
        found: list[Claim] = []
        for node in self._items(top, "claims"):
            claim = self._claim(node)
            if claim is None:
                continue
            if any(claim.id == other.id for other in found):
                self._wrong(node.place, f"claim {claim.id} is given twice; give one of them another id")
            found.append(claim)
        return found

    def _claim(self, node: Node) -> Claim | None:
        before = len(self.problems)
        table = self._table(node, "a claim", _CLAIM_KEYS[:4], _CLAIM_KEYS[4:])
        name = str(self._of(table, "id", _TEXT, "?"))
        cells: dict[str, dict[str, Any]] = {}
        if "cells" in table:
            cells = {
                key: {**self.base, **self._cell(cell, f"{name}: cell {key}")}
                for key, (_, cell) in self._mapping(table["cells"][1], f"{name}: cells").items()
            }
        parts = [self._part(part, name, cells) for part in self._items(table, "parts", f"{name}: ")]
        if parts and all(part and not part.decides for part in parts):
            self._wrong(node.place, f"{name}: no part decides; remove `decides: false` from one")
        needs = self._needs(table, name)
        claim = {
            **{key: self._of(table, key, _TEXT, "") for key in ("text", "where", "expected")},
            "figure": self._of(table, "figure", _TEXT, "-"),
            "primary": self._of(table, "primary", _FLAG, True),
        }
        if len(self.problems) > before:
            return None
        return Claim(id=name, cells=cells, parts=tuple(part for part in parts if part), paper=self.paper, **claim, **needs)

    def _needs(self, table: _Table, name: str) -> dict[str, Any]:
        if "needs" not in table:
            return {}
        needs = self._table(table["needs"][1], f"{name}: needs", (), ("epochs", "warmup", "settings"))
        found: dict[str, Any] = {key: self._of(needs, key, _WHOLE, 1) for key in ("epochs", "warmup") if key in needs}
        if "settings" in needs:
            wanted = {}
            for key, (place, levels) in self._mapping(needs["settings"][1], f"{name}: settings").items():
                items = levels.items if isinstance(levels, nodes.Sequence) else (levels,)
                wanted[key] = tuple(self._level(place, key, item, f"{name}: settings") for item in items)
            found["settings"] = wanted
        return found

    def _part(self, node: Node, claim: str, cells: Mapping[str, Any]) -> Part | None:
        before = len(self.problems)
        entries = self._mapping(node, f"{claim}: a part")
        label = f"{claim}: {self._of(entries, 'name', _TEXT, 'a part')}"
        value = self._choice(node, entries, "value", VALUES, label)
        test = self._choice(node, entries, "test", _TESTS, label)
        if value is None or test is None:
            return None
        needed, optional = _TESTS[test]
        takes = VALUES[value].takes
        table = self._table(node, label, (*_PART_KEYS, *needed, *takes), (*optional, "decides"))
        kinds = {str: _TEXT, float: _NUMBER, int: _WHOLE}
        how = {key: self._of(table, key, kinds[kind], kind()) for key, kind in takes.items()}
        self._check_columns(table, value, how, label)
        names = self._names(table, "cells", cells, label)
        if "reference" in how and how["reference"] not in cells and "reference" in table:
            self._wrong(
                table["reference"][0],
                f"{label}: reference {how['reference']} is not one of its cells{_near(how['reference'], cells)}",
            )
        if test in _OF_ALL_TRIALS and len(names) < 2 and "cells" in table:
            self._wrong(table["cells"][0], f"{label}: {test} compares at least two cells, got {len(names)}")
        if (test == "uncorrelated") != (value == "pair"):
            self._wrong(table["test"][0], f"{label}: the test uncorrelated and the value pair need each other")
        if "zero_in" in table and value != "ablation":
            self._wrong(table["zero_in"][0], f"{label}: only the value ablation takes zero_in, got {value}")
        fields = {
            "margin": self._of(table, "margin", _NUMBER, 1.0),
            "limit": self._of(table, "limit", _NUMBER, 0.0),
            "by": self._of(table, "by", _NUMBER, 0.0),
            "paired": self._of(table, "paired", _FLAG, False),
            "decides": self._of(table, "decides", _FLAG, True),
            "also": self._numbers(table, "also", label),
            "range": self._numbers(table, "range", label) or (0.0, 0.0),
            "zero_in": self._names(table, "zero_in", cells, label),
            "large": self._pairs(table, "large", names, label),
            "small": self._pairs(table, "small", names, label),
        }
        self._check_numbers(table, test, fields, label)
        if len(self.problems) > before:
            return None
        return Part(name=label.split(": ", 1)[1], value=value, test=test, cells=names, how=how, **fields)

    def _check_numbers(self, table: _Table, test: str, fields: Mapping[str, Any], label: str) -> None:
        if "margin" in table and not fields["margin"] > 0:
            self._wrong(table["margin"][0], f"{label}: margin is {fields['margin']:g}; it must be above 0")
        if test == "uncorrelated" and not fields["margin"] < 1:
            self._wrong(table["test"][0], f"{label}: margin is {fields['margin']:g}; of a correlation it must be below 1")
        if not fields["by"] >= 0:
            self._wrong(table["by"][0], f"{label}: by is {fields['by']:g}; it must be 0 or more")
        if any(not margin > 0 for margin in fields["also"]):
            self._wrong(table["also"][0], f"{label}: margins of also must be above 0")
        low_high = fields["range"]
        if "range" in table and not (len(low_high) == 2 and low_high[0] < low_high[1]):
            self._wrong(table["range"][0], f"{label}: range must be [low, high] with low below high")

    def _check_columns(self, table: _Table, value: str, how: Mapping[str, Any], label: str) -> None:
        for key in ("column", "minus", "with"):
            if key not in how or key not in table:
                continue
            known: Iterable[str] = (*CURVES, *TRIAL_MEASURES)
            if VALUES[value].needs_latent:
                known = LATENT_COLUMNS
            elif value == "by_class":
                known = VECTORS
            elif value == "ablation":
                known = ABLATIONS
            elif value in _STREAM_ONLY:
                known = CURVES
            if how[key] not in known:
                self._wrong(table[key][0], f"{label}: {value} cannot read {key} {how[key]}{_near(how[key], known)}")

    def _cell(self, node: Node, label: str) -> dict[str, Any]:
        return {key: self._level(place, key, level, label) for key, (place, level) in self._mapping(node, label).items()}

    def _level(self, place: Place, key: str, node: Node, label: str) -> Any:
        """Return a level of a setting, parsed by the setting's own type."""
        value = plain(node)
        if key == "warmup" and value == LONGEST:
            return value
        if key == "seed" or key not in leaves():
            reason = "claims are over all seeds" if key == "seed" else f"it is not a setting{_near(key, leaves())}"
            self._wrong(place, f"{label}: {key} cannot be fixed: {reason}")
            return value
        try:
            return adapter_of(key).validate_python(value)
        except ValidationError as error:
            self._wrong(node.place, f"{label}: {key} is {value!r}: {error.errors()[0]['msg'].lower()}")
            return value

    def _names(self, table: _Table, key: str, known: Mapping[str, Any], label: str) -> tuple[str, ...]:
        found = []
        for node in self._items(table, key, f"{label}: "):
            name = str(plain(node))
            if name not in known:
                self._wrong(node.place, f"{label}: {name} is not one of its cells{_near(name, known)}")
            found.append(name)
        return tuple(found)

    def _pairs(self, table: _Table, key: str, known: Iterable[str], label: str) -> tuple[tuple[str, str], ...]:
        found = []
        for node in self._items(table, key, f"{label}: ") if key in table else ():
            two = [str(plain(item)) for item in node.items] if isinstance(node, nodes.Sequence) else []
            if len(two) != 2 or set(two) - set(known):
                self._wrong(node.place, f"{label}: every entry of {key} must be a pair of its cells, [one, other]")
            else:
                found.append((two[0], two[1]))
        return tuple(found)

    def _numbers(self, table: _Table, key: str, label: str) -> tuple[float, ...]:
        found = []
        for node in self._items(table, key, f"{label}: ") if key in table else ():
            value = plain(node)
            if isinstance(value, bool) or not isinstance(value, int | float):
                self._wrong(node.place, f"{label}: {key} takes numbers, got {value!r}")
            else:
                found.append(float(value))
        return tuple(found)

    def _choice(self, part: Node, table: _Table, key: str, known: Mapping[str, Any], label: str) -> str | None:
        if key not in table:
            self._wrong(part.place, f"{label}: {key} is missing")
            return None
        node = table[key][1]
        name = node.text if isinstance(node, Scalar) else str(plain(node))
        if name not in known:
            self._wrong(node.place, f"{label}: there is no {key} {name}{_near(name, known)}")
            return None
        return name

    def _of(self, table: _Table, key: str, kind: str, default: Any) -> Any:
        """Return the value of a key if its kind is right; `_table` has already reported missing keys."""
        if key not in table:
            return default
        node = table[key][1]
        value = plain(node)
        match kind:
            case "a text":
                is_right = isinstance(value, str) and bool(value)
                # A figure 2.1 without quotes is a number, but means the figure.
                value = node.text if isinstance(node, Scalar) and key == "figure" else value
                is_right = is_right or (key == "figure" and bool(value))
            case "true or false":
                is_right = isinstance(value, bool)
            case "a whole number above 0":
                is_right = isinstance(value, int) and not isinstance(value, bool) and value > 0
            case _:
                is_right = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
        if not is_right:
            self._wrong(node.place, f"{key} takes {kind}, got {value!r}")
            return default
        return value

    def _items(self, table: _Table, key: str, label: str = "") -> Sequence[Node]:
        if key not in table:
            return []
        node = table[key][1]
        if not isinstance(node, nodes.Sequence) or not node.items:
            self._wrong(node.place, f"{label}{key} must be a list with at least one entry")
            return []
        return node.items

    def _table(self, node: Node, label: str, needed: Iterable[str], optional: Iterable[str]) -> _Table:
        found = self._mapping(node, label)
        known = (*needed, *optional)
        for key, (place, _) in found.items():
            if key not in known:
                self._wrong(place, f"{label}: {key} is not a key here{_near(key, known)}")
        if isinstance(node, nodes.Mapping):
            for key in needed:
                if key not in found:
                    self._wrong(node.place, f"{label}: {key} is missing")
        return found

    def _mapping(self, node: Node, label: str) -> _Table:
        if not isinstance(node, nodes.Mapping):
            self._wrong(node.place, f"{label}: must be a table of keys and values, got {plain(node)!r}")
            return {}
        return node.entries

    def _wrong(self, place: Place, text: str) -> None:
        if (problem := Problem(place, text)) not in self.problems:
            self.problems.append(problem)


def _near(word: str, known: Iterable[str]) -> str:
    names = list(known)
    if near := close_to(word, names):
        return f"; {near}"
    return f"; there are {', '.join(names)}" if len(names) < 25 else ""
