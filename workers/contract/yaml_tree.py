"""Read a small, strict part of YAML into a tree of values, each with its line and column."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import yaml

from workers.contract.errors import printable
from workers.contract.settings import Level

MAX_BYTES = 32_000
"""Largest size of a grid file; reading one of this size takes a quarter of a second."""

MAX_DEPTH = 8

MAX_KEY, MAX_KEYS = 100, 100
"""Most characters of a key, and most keys of one mapping; there are fewer settings, and their names are shorter."""


@dataclass(frozen=True)
class FileKind:
    """What a file is called in messages, and how large it may be."""

    name: str
    size: str
    """How long such a file usually is, in words."""
    example: str
    """Where the user finds an example, as a clause for a message."""
    max_bytes: int = MAX_BYTES
    may_be_empty: bool = False

    def too_large(self, size: int) -> str:
        """Return what is wrong with a file of this many bytes."""
        return f"is {size:,} bytes; at most {self.max_bytes:,} are allowed: {self.name} is {self.size}"


GRID_FILE = FileKind("a grid file", "a page of text", "the README shows a grid file")


@dataclass(frozen=True)
class Place:
    """Where a value was written: a file with line and column counted from 1, or a command-line option (line 0)."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        """Return `file:line:column`, or the name of the option."""
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where."""

    place: Place
    text: str

    def __str__(self) -> str:
        """Return one printable line, whatever characters a key of the file contains."""
        return printable(f"{self.place}: {self.text}")


@dataclass(frozen=True)
class Scalar:
    """A plain or quoted value; null becomes None."""

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
    """Keys, each with its place and its value."""

    entries: "dict[str, tuple[Place, Node]]"
    place: Place


Node = Scalar | Sequence | Mapping

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")

_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")

_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def read_nodes(text: str, source: str, kind: FileKind = GRID_FILE) -> tuple[Node | None, list[Problem]]:
    """Return the tree of a YAML text, or None if there is none, and a list of what is wrong with the text.

    Refused: several documents, anchors, aliases, tags, duplicate keys, keys that are not text, more than 8 levels, and too
    many bytes.
    """
    start = Place(source, 1, 1)
    if (size := len(text.encode("utf-8", "surrogatepass"))) > kind.max_bytes:
        return None, [Problem(start, kind.too_large(size))]
    try:
        events, problems = _allowed(text, source, kind)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        place = Place(source, where.line + 1, where.column + 1) if where else start
        return None, [
            Problem(place, f"is not valid YAML: {error.problem or error.context}; check indentation, colons and brackets")
        ]
    except yaml.YAMLError as error:
        # A character that YAML does not allow; the reader knows its position in the text, not its line.
        return None, [Problem(start, f"is not valid YAML: {str(error).splitlines()[0]}; save it as plain UTF-8 text")]
    if problems:
        return None, problems
    if not events:
        return None, [] if kind.may_be_empty else [Problem(start, f"is empty; {kind.example}")]
    return _tree(iter(events), source, problems), problems


def _allowed(text: str, source: str, kind: FileKind) -> tuple[list[yaml.NodeEvent | yaml.CollectionEndEvent], list[Problem]]:
    """Return the events of the nodes of the only document, and the problems found."""
    events: list[yaml.NodeEvent | yaml.CollectionEndEvent] = []
    problems: list[Problem] = []
    depth, documents = 0, 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        place = _place(event, source)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                text = f"a second document begins here; {kind.name} holds one: remove the `---`"
                problems.append(Problem(place, text))
                break
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            problems.append(Problem(place, "anchors and aliases (& and *) are not allowed; write the value out"))
        if tag := getattr(event, "tag", None):
            problems.append(Problem(place, f"tags are not allowed, got {tag}; write the value alone"))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                problems.append(Problem(place, f"is nested deeper than {MAX_DEPTH} levels"))
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            events.append(event)
    return events, problems


def _place(event: yaml.Event, source: str) -> Place:
    assert event.start_mark is not None, "the parser marks every event"
    return Place(source, event.start_mark.line + 1, event.start_mark.column + 1)


def _tree(events: Iterator[yaml.Event], source: str, problems: list[Problem]) -> Node:
    """Return the node that the next events describe."""
    node = _node(next(events), events, source, problems)
    assert node is not None, "a document begins with a node"
    return node


def _node(event: yaml.Event, events: Iterator[yaml.Event], source: str, problems: list[Problem]) -> Node | None:
    """Return the node that begins with this event; None at the end of a collection."""
    place = _place(event, source)
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(_scalar(event.value, quoted=event.style is not None), event.value, place)
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while (item := _node(next(events), events, source, problems)) is not None:
            items.append(item)
        return Sequence(tuple(items), place)
    if not isinstance(event, yaml.MappingStartEvent):
        return None
    entries: dict[str, tuple[Place, Node]] = {}
    while (key := _node(next(events), events, source, problems)) is not None:
        value = _tree(events, source, problems)
        if not isinstance(key, Scalar):
            problems.append(Problem(key.place, "a key must be plain text"))
        elif len(key.text) > MAX_KEY:
            text = f"{key.text[:20]}...: a key of {len(key.text):,} characters; at most {MAX_KEY} are allowed"
            problems.append(Problem(key.place, text))
        elif key.text in entries:
            problems.append(
                Problem(key.place, f"{key.text}: is given twice, first in line {entries[key.text][0].line}; keep one")
            )
        else:
            entries[key.text] = (key.place, value)
    if len(entries) > MAX_KEYS:
        problems.append(Problem(place, f"has {len(entries):,} keys in one place; at most {MAX_KEYS} are allowed"))
        entries = dict(islice(entries.items(), MAX_KEYS))
    return Mapping(entries, place)


def plain(node: Node) -> Any:
    """Return a node as plain Python values, without places."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, (_, value) in node.entries.items()}


def _scalar(text: str, quoted: bool) -> Level | None:
    """Convert a scalar by YAML 1.2's core types: only true and false are booleans, 1e-3 is a number, 012 is text."""
    if quoted:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        # Python refuses to convert integers of thousands of digits; no setting needs one.
        return int(text) if len(text) < 40 else text
    if _NUMBER.fullmatch(text) and not re.fullmatch(r"[-+]?0[0-9]+", text):
        return float(text)
    return text
