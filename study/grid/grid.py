"""A grid file becomes a Grid; every problem of a bad one is found at once, with its line and column."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from study.grid.reader import Reader, written
from study.grid.set_options import with_sets
from workers.contract import yaml_tree as nodes
from workers.contract.errors import UserError, printable
from workers.contract.settings import Level, RunSettings, Settings, SettingValue
from workers.contract.settings_table import build, flatten, settings_from
from workers.contract.yaml_tree import Place, Problem

MAX_SHOWN = 100


class GridError(UserError):
    """A grid file that cannot be run; `problems` has every one, the text the first hundred."""

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
    """Combinations to leave out: a cell that has one of the levels of every name."""
    cells: tuple[Mapping[str, Level], ...]
    """Cells named one by one."""
    base: Settings
    run: RunSettings
    places: Mapping[str, Place]
    """Where the file's top keys stand, and every value that it gives to a setting."""
    one_seed: bool = False
    """Every cell with its first seed only."""
    from_preset: Mapping[str, SettingValue] = field(default_factory=dict)
    """What the preset sets, whether or not the file sets it anew."""

    def place(self, key: str) -> str:
        """Where a top key stands; the beginning of the file if it is not there."""
        return str(self.places.get(key, Place(self.source, 1, 1)))

    def is_written(self, name: str, value: SettingValue) -> bool:
        """Whether the file or an option gives this value to the setting."""
        return written(name, value) in self.places

    def place_of(self, name: str, value: SettingValue) -> Place:
        """Where a setting got this value: its own place, else that of its preset, its room, or the whole file."""
        keys = [written(name, value)]
        if name in self.from_preset and self.from_preset[name] == value:
            keys.append("preset")
        keys.append(name.partition(".")[0] if "." in name else "factors")
        return next((self.places[key] for key in keys if key in self.places), Place(self.source, 1, 1))


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
    except (OSError, ValueError) as error:
        # ValueError: a name with a NUL.
        reason = "no such file" if not isinstance(error, OSError) or isinstance(error, FileNotFoundError) else error.strerror
        here = ", ".join(sorted(p.name for p in Path().glob("*.y*ml"))) or "none"
        raise GridError(source, [Problem(Place(source, 1, 1), f"{reason}; YAML files here: {here}")]) from error
    return parse_grid(text, source, sets)


def placed(text: str, path: str | Path, sets: Iterable[str] = (), out: str | None = None) -> str:
    """A complaint that begins with a setting's name (`run.out: ...`), with the place in the grid file where that is set.

    `path` and `sets` are those that `read_grid` has taken; `out` is what the command line says of run.out.
    """
    name = text.partition(":")[0]
    if name == "run.out" and out is not None:
        return printable(f"--out {out[:100]}: {text}")
    try:
        grid = read_grid(path, sets)
    except GridError:
        # The file has changed since.
        return printable(text)
    known: dict[str, SettingValue] = {**flatten(grid.base), **{f"run.{key}": v for key, v in flatten(grid.run).items()}}
    place = grid.place_of(name, known[name]) if name in known else grid.place(name)
    return printable(f"{place}: {text}")


def parse_grid(text: str, source: str = "grid.yaml", sets: Iterable[str] = ()) -> Grid:
    """A Grid from the text of a grid file; see read_grid."""
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
