"""Select a part of a study's trials: --only and --smoke."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from study.grid.grid import Grid
from study.grid.hints import allowed, suggest
from study.grid.ranges import is_range, range_of, takes_ranges
from workers.contract.errors import UserError, printable
from workers.contract.settings import Level
from workers.contract.settings_table import adapter_of, flatten, leaves, settings_from, value_of
from workers.contract.trial import Trial
from workers.contract.yaml_tree import plain, read_nodes

SMOKE_EPOCHS, SMOKE_NLL_SAMPLES = 2, 10


class SelectionError(UserError):
    """An --only that matches nothing."""

    def __init__(self, text: str) -> None:
        """Keep the text short and on one line, whatever was typed."""
        super().__init__(printable(text if len(text) <= 2000 else f"{text[:1000]}...{text[-1000:]}"))


def select(trials: Sequence[Trial], only: Iterable[str]) -> list[Trial]:
    """Return the trials that match a trial_id (or its beginning) or FACTOR=LEVEL, where LEVEL may be a range such as 0..3.

    A trial matches several levels of one factor if it has one of them; it must match every factor that is named.

    Raises:
        SelectionError: an entry is not a setting or a level, or matches no trial.
    """
    ids: list[str] = []
    levels: dict[str, list[Level]] = {}
    for entry in only:
        name, equals, text = entry.partition("=")
        if equals:
            levels.setdefault(name, []).extend(_levels(entry, name, text))
        else:
            ids.append(entry)
    chosen = [trial for trial in trials if _matches(trial, levels)] if levels else []
    if levels and not chosen:
        raise SelectionError(f"--only {' '.join(only)}: matches no trial of this grid; --plan lists factors and levels")
    for beginning in ids:
        found = [trial for trial in trials if beginning and trial.trial_id.startswith(beginning)]
        if not found:
            raise SelectionError(
                f"--only {beginning}: no trial of this grid has an id that begins like this; use FACTOR=LEVEL or an id"
            )
        chosen += [trial for trial in found if trial not in chosen]
    return chosen


def smoke(grid: Grid) -> Grid:
    """Return the same cells as a separate study, with two epochs and the first seed: it finds in a minute what breaks."""
    values = flatten(grid.base) | {"training.epochs": SMOKE_EPOCHS, "measure.nll_samples": SMOKE_NLL_SAMPLES}
    return replace(grid, study=f"{grid.study[:58]}-smoke", base=settings_from(values), one_seed=True)


def _matches(trial: Trial, levels: Mapping[str, list[Level]]) -> bool:
    return all(value_of(trial.settings, name) in wanted for name, wanted in levels.items())


def _levels(entry: str, name: str, text: str) -> list[Level]:
    if name not in leaves():
        raise SelectionError(f"--only {entry}: {name} is not a setting; {suggest(name, leaves(), leaves())}")
    if is_range(text) and takes_ranges(name):
        try:
            return list(range_of(text))
        except ValueError as error:
            raise SelectionError(f"--only {entry}: {error}") from error
    node, _ = read_nodes(text, "--only")
    try:
        level: Level = adapter_of(name).validate_python(None if node is None else plain(node))
    except ValidationError as error:
        raise SelectionError(f"--only {entry}: got {text!r}; allowed: {allowed(name)}") from error
    return [level]
