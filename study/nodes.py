"""A YAML text as a tree of values that know where they stand; converts and allows as little as it can."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from workers.settings import Level

MAX_BYTES = 1_000_000
MAX_DEPTH = 8


@dataclass(frozen=True)
class Place:
    """Where a value was written: a file with line and column from 1, or a command-line option (line 0)."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        """As `file:line:column`, or the option alone."""
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    place: Place
    text: str

    def __str__(self) -> str:
        """One line for the terminal, whatever a key of the file holds."""
        line = f"{self.place}: {self.text}"
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


@dataclass(frozen=True)
class Scalar:
    """A plain or quoted value; null is None."""

    value: Level | None
    text: str
    place: Place


@dataclass(frozen=True)
class Sequence:
    """A list."""

    items: "tuple[Node, ...]"
    place: Place


@dataclass(frozen=True)
class Mapping:
    """Keys with the place of each key."""

    entries: "dict[str, tuple[Place, Node]]"
    place: Place


Node = Scalar | Sequence | Mapping

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def read_nodes(text: str, source: str) -> tuple[Node | None, list[Problem]]:
    """The tree of a text and what is wrong with it; None where there is no tree.

    Refused: several documents, anchors, aliases, tags, duplicate keys, keys that are no text, depth above 8, 1 MB.
    """
    start = Place(source, 1, 1)
    if len(text.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        return None, [Problem(start, "is larger than 1 MB; a grid file is a page of text")]
    try:
        problems = list(_forbidden(text, source))
        if problems:
            return None, problems
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        place = Place(source, where.line + 1, where.column + 1) if where else start
        return None, [
            Problem(place, f"is no YAML: {error.problem or error.context}; check indentation, colons and brackets")
        ]
    except yaml.YAMLError as error:
        # A character that YAML does not allow; the reader knows its position in the text, not its line.
        return None, [Problem(start, f"is no YAML: {str(error).splitlines()[0]}; save it as plain UTF-8 text")]
    if root is None:
        return None, [Problem(start, "is empty; the README shows a grid file")]
    return _convert(root, source, problems), problems


def _forbidden(text: str, source: str) -> Iterator[Problem]:
    depth, documents = 0, 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        assert event.start_mark is not None, "the parser marks every event"
        place = Place(source, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                yield Problem(place, "a second document begins here; a grid file holds one: remove the `---`")
                return
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            yield Problem(place, "anchors and aliases (& and *) are not allowed; write the value out")
        if tag := getattr(event, "tag", None):
            yield Problem(place, f"tags are not allowed, got {tag}; write the value alone")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                yield Problem(place, f"is nested deeper than {MAX_DEPTH} levels")
                return
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _convert(node: yaml.Node, source: str, problems: list[Problem]) -> Node:
    place = Place(source, node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.SequenceNode):
        return Sequence(tuple(_convert(item, source, problems) for item in node.value), place)
    if isinstance(node, yaml.MappingNode):
        entries: dict[str, tuple[Place, Node]] = {}
        for key, value in node.value:
            at = Place(source, key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, yaml.ScalarNode):
                problems.append(Problem(at, "a key must be plain text"))
            elif key.value in entries:
                problems.append(
                    Problem(at, f"{key.value}: stands twice, first in line {entries[key.value][0].line}; keep one")
                )
            else:
                entries[key.value] = (at, _convert(value, source, problems))
        return Mapping(entries, place)
    assert isinstance(node, yaml.ScalarNode), "YAML has three kinds of nodes"
    return Scalar(_scalar(node.value, quoted=node.style is not None), node.value, place)


def _scalar(text: str, quoted: bool) -> Level | None:
    """YAML 1.2's core types: only true and false are booleans, 1e-3 is a number, 012 and 1_000 are text."""
    if quoted:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        # Python refuses integers of thousands of digits; no setting has one.
        return int(text) if len(text) < 40 else text
    if _NUMBER.fullmatch(text) and not re.fullmatch(r"[-+]?0[0-9]+", text):
        return float(text)
    return text
