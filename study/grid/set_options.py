"""Put `--set NAME=VALUE` options into the tree of a grid file, so that they are read like the rest of it."""

from collections.abc import Callable, Iterable, Sequence

from workers.contract import yaml_tree as nodes
from workers.contract.settings import FACTORS
from workers.contract.yaml_tree import Node, Place, Scalar


def with_sets(root: nodes.Mapping, sets: Iterable[str], note: Callable[[Place, str], None]) -> nodes.Mapping:
    """Return the tree with every `name=value` put in; an option that cannot be read is noted and left out."""
    for option in sets:
        source = f"--set {option}"
        place = Place(source, 0, 0)
        name, equals, text = option.partition("=")
        if not equals or not name:
            note(place, "must be NAME=VALUE, like --set training.epochs=10")
            continue
        node, problems = nodes.read_nodes(text, source)
        for problem in problems:
            note(place, problem.text)
        if node is not None:
            path = ["factors", name] if name in FACTORS else name.split(".", 1)
            root = _put(root, path, _moved(node, place), place)
    return root


def _moved(node: Node, place: Place) -> Node:
    """Return the same value with another place."""
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
