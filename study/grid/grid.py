"""Read a grid file into a Grid, or report all of its problems together, each with its line and column."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from study.grid.reader import Reader, written
from study.grid.set_options import with_sets
from workers.contract import yaml_tree as nodes
from workers.contract.errors import UserError, printable, reason_of
from workers.contract.settings import Level, RunSettings, Settings, SettingValue
from workers.contract.settings_table import build, flatten, settings_from
from workers.contract.user_paths import expanded
from workers.contract.yaml_tree import Place, Problem
from workers.store.folder import FileTooLargeError, read_limited

MAX_SHOWN = 100


class GridError(UserError):
    """A grid file that cannot be run; `problems` holds every problem, the text the first hundred."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        """Sort the problems by line."""
        self.problems = tuple(sorted(problems, key=lambda p: (p.place.line, p.place.column)))
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        shown = [*self.problems[:MAX_SHOWN]]
        if more := self.problems[MAX_SHOWN:]:
            shown.append(Problem(more[0].place, f"{len(more):,} more problems from here on"))
        super().__init__("\n".join([printable(f"{source}: {count}"), *map(str, shown)]))


@dataclass(frozen=True)
class Grid:
    """What a grid file asks for: the full factorial of the factors' levels around the base settings."""

    study: str
    source: str
    text: str
    factors: Mapping[str, tuple[Level, ...]]
    """Levels by setting, in the order of workers.contract.settings; `seed` is always there."""
    exclude: tuple[Mapping[str, tuple[Level, ...]], ...]
    """Combinations to leave out: an entry excludes the cells that have one of its levels for every name."""
    cells: tuple[Mapping[str, Level], ...]
    """Cells named one by one."""
    base: Settings
    run: RunSettings
    places: Mapping[str, Place]
    """The place of every top-level key, and of every value that the file gives to a setting."""
    one_seed: bool = False
    """Use only the first seed of every cell."""
    from_preset: Mapping[str, SettingValue] = field(default_factory=dict)
    """The values of the preset, including those that the file overrides."""

    def place(self, key: str) -> str:
        """Return the place of a top-level key, or the beginning of the file if the key is not there."""
        return str(self.places.get(key, Place(self.source, 1, 1)))

    def is_written(self, name: str, value: SettingValue) -> bool:
        """Return whether the file or an option gives this value to the setting."""
        return written(name, value) in self.places

    def place_of(self, name: str, value: SettingValue) -> Place:
        """Return where a setting got this value: its own place, else that of the preset, its section, or the whole file."""
        keys = [written(name, value)]
        if name in self.from_preset and self.from_preset[name] == value:
            keys.append("preset")
        keys.append(name.partition(".")[0] if "." in name else "factors")
        return next((self.places[key] for key in keys if key in self.places), Place(self.source, 1, 1))


def read_grid(path: str | Path, sets: Iterable[str] = ()) -> Grid:
    """Read a grid file; every `name=value` in `sets` overrides the file.

    Raises:
        GridError: the file or an option has problems; the error holds every one.
    """
    source = str(path)
    there = expanded(path)
    try:
        text = read_limited(there, nodes.GRID_FILE).decode()
    except FileTooLargeError as error:
        raise GridError(source, [error.problem]) from error
    except UnicodeDecodeError as error:
        raise GridError(source, [Problem(Place(source, 1, 1), f"is not UTF-8 text (byte {error.start})")]) from error
    except (OSError, ValueError) as error:
        # ValueError: a name with a NUL.
        reason = (
            "no such file" if not isinstance(error, OSError) or isinstance(error, FileNotFoundError) else reason_of(error)
        )
        here = ", ".join(sorted(p.name for p in Path().glob("*.y*ml"))) or "none"
        raise GridError(source, [Problem(Place(source, 1, 1), f"{reason}; YAML files here: {here}")]) from error
    return parse_grid(text, source, sets)


def placed(text: str, path: str | Path, sets: Iterable[str] = (), out: str | None = None) -> str:
    """Put the place in the grid file where a setting is set before a message that begins with its name (`run.out: ...`).

    `path` and `sets` are the arguments given to `read_grid`; `out` is the value of --out on the command line.
    """
    name = text.partition(":")[0]
    if not re.fullmatch(r"\w+(\.\w+)*", name) or name.isupper():
        # The fault lies on the command line (--address), in the environment (RAY_ADDRESS=...) or in another file.
        return printable(text)
    if name == "run.out" and out is not None:
        return printable(f"--out {out[:100]}: {text}")
    try:
        grid = read_grid(path, sets)
    except GridError:
        # The file has changed since it was read.
        return printable(text)
    known: dict[str, SettingValue] = {**flatten(grid.base), **{f"run.{key}": v for key, v in flatten(grid.run).items()}}
    place = grid.place_of(name, known[name]) if name in known else grid.place(name)
    return printable(f"{place}: {text}")


def parse_grid(text: str, source: str = "grid.yaml", sets: Iterable[str] = ()) -> Grid:
    """Return the Grid that a grid file's text describes; see read_grid."""
    root, problems = nodes.read_nodes(text, source)
    reader = Reader(problems)
    if isinstance(root, nodes.Mapping):
        grid = _grid(reader, with_sets(root, sets, reader.note), source, text)
        if grid is not None and not reader.problems:
            return grid
    elif root is not None:
        reader.note(root.place, "must be keys and values, like `study: name`")
    raise GridError(source, reader.problems)


def _grid(reader: Reader, root: nodes.Mapping, source: str, text: str) -> Grid | None:
    reader.keys(root)
    study = reader.study(root)
    preset = reader.preset(root)
    values = {**preset, **reader.rooms(root)}
    run = reader.room(root, "run", RunSettings)
    factors = reader.factors(root)
    exclude = reader.exclude(root, factors)
    cells = reader.cells(root)
    reader.data(root, values)
    if reader.problems:
        return None
    return Grid(
        study=study,
        source=source,
        text=text,
        factors=factors,
        exclude=exclude,
        cells=cells,
        base=settings_from(values),
        run=RunSettings.model_validate(build(run)),
        places=reader.places | {name: place for name, (place, _) in root.entries.items()},
        from_preset=preset,
    )
