"""Count how the trials of a study ended, print the summary, and choose the exit code."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from study.forecast.amounts import counted
from study.grid.hints import words_of_trial
from study.plan.planning import find_work, statuses_of
from study.plan.request import Request
from workers.contract.errors import CONFLICT, DAMAGED, DONE, INCOMPLETE, INTERRUPTED, printable_lines
from workers.contract.failure import Failure
from workers.contract.user_paths import quoted

STOPPING = (
    "stopping: every running pack stores what it has after its current epoch; Ctrl-C again stops at once; "
    "run the same command again to continue"
)
"""What a driver prints when it is asked to stop. `study submit` looks for this line in a job's log."""

SHOWN = 20
"""How many trials are named; the others are only counted."""


@dataclass(frozen=True)
class Ending:
    """How a study stands when the command returns."""

    out: str
    """URL of the study's folder."""
    trials: int
    completed: int
    diverged: tuple[str, ...]
    """One text per trial: cell, seed and trial_id."""
    failed: tuple[str, ...]
    missing: tuple[str, ...]
    """Wanted trials that have not ended."""
    exit_code: int
    """0 all done, 1 some trials diverged, failed or are missing, 3 damaged data, 4 conflicting content, 130 interrupted."""


def ending_of(request: Request, failures: Mapping[str, Failure], interrupted: bool) -> Ending:
    """Read once more what is stored, and return how the study stands; `failures` are those of this run, by pack_id."""
    store, wanted = request.store, request.wanted
    work = find_work(request)
    statuses = statuses_of(store, work)

    def named(status: str | None) -> tuple[str, ...]:
        return tuple(words_of_trial(trial) for trial in wanted if statuses.get(trial.trial_id) == status)

    diverged, failed, missing = named("diverged"), named("failed"), named(None)
    kinds = {failure.kind for failure in failures.values()}
    code = INCOMPLETE if missing or diverged or failed else DONE
    if kinds & {"damaged", "damaged_data"}:
        code = DAMAGED
    if "conflict" in kinds:
        code = CONFLICT
    if interrupted:
        code = INTERRUPTED
    return Ending(store.url, len(wanted), len(named("completed")), diverged, failed, missing, code)


def say_ending(
    ending: Ending, failures: Mapping[str, Failure], seconds: float, ran: bool, say: Callable[[str], None]
) -> None:
    """Print the last lines of a run: the counts, the reasons of failures, and what to do next."""
    if not ran and ending.exit_code == DONE:
        say("nothing to do: " + (f"all {ending.trials} trials are done" if ending.trials > 1 else "the trial is done"))
    else:
        say(f"{ending.completed} of {counted(ending.trials, 'trial')} completed; this run took {seconds:.0f} s")
    _list("diverged", ending.diverged, "", say)
    _list("failed", ending.failed, "try them again with --retry-failed", say)
    _list("missing", ending.missing, "run the same command again to continue with them", say)
    if ending.exit_code != DONE:
        for sentence in dict.fromkeys(failure.sentence for failure in failures.values() if failure.kind != "closed"):
            say(f"why: {sentence}")
        for details in dict.fromkeys(failure.details for failure in failures.values() if failure.kind == "error"):
            print(printable_lines(details), file=sys.stderr)
    say(f"rows: pandas.read_parquet({json.dumps(f'{ending.out}/epochs', ensure_ascii=False)})")
    say(f"figures: python -m analysis.report {quoted(ending.out)}")


def _list(what: str, names: Sequence[str], next_step: str, say: Callable[[str], None]) -> None:
    if not names:
        return
    say(f"{what}: {len(names)}" + (f"; {next_step}" if next_step else ""))
    for name in names[:SHOWN]:
        say(f"  {name}")
    if len(names) > SHOWN:
        say(f"  and {len(names) - SHOWN} more")
