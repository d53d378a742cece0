"""Show the progress of a study: one live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping

from rich.progress import BarColumn, Progress, TextColumn

from study.forecast.amounts import counted
from study.grid.hints import words_of_trial
from workers.contract.errors import printable_lines, say
from workers.contract.trial import Pack

PLAIN_LINE_EVERY_S = 10.0

LIVE_LINE_EVERY_S = 0.2


class Display:
    """Shows trials done and running, epochs per second and time left, and failures as they happen."""

    def __init__(self, seconds_of: Mapping[str, float], packs: Mapping[str, Pack], trials_done: int) -> None:
        """`seconds_of` is the rough time of every pack to run; it weights the packs in the estimate of the time left."""
        self._weight = seconds_of
        self._packs = packs
        self._epoch: dict[str, int] = {}
        self._begun: dict[str, int] = {}
        self._diverged: set[str] = set()
        self._done = trials_done
        self._total = trials_done + sum(len(pack.trials) for pack in packs.values())
        self._started = time.monotonic()
        self._last_line = self._started
        self._epochs = 0
        self._live: Progress | None = None
        if sys.stdout.isatty():
            self._live = Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
            self._task = self._live.add_task("starting", total=sum(seconds_of.values()) or 1)

    def __enter__(self) -> "Display":
        """Start drawing."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing, so that later output appears below."""
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._live:
            self._live.console.print(printable_lines(text), markup=False, highlight=False, emoji=False, soft_wrap=True)
        else:
            say(text)

    def epoch(self, pack_id: str, epoch: int, diverged: Mapping[str, int]) -> None:
        """Record that a pack has finished an epoch, and report its newly diverged trials."""
        self._begun.setdefault(pack_id, epoch - 1)
        self._epochs += max(0, epoch - self._epoch.get(pack_id, self._begun[pack_id])) * len(self._packs[pack_id].trials)
        self._epoch[pack_id] = epoch
        for trial_id, at in diverged.items():
            if trial_id not in self._diverged:
                self._diverged.add(trial_id)
                trial = next(trial for trial in self._packs[pack_id].trials if trial.trial_id == trial_id)
                self.say(
                    f"diverged in epoch {at}, because a bound is not finite: {words_of_trial(trial)}\n"
                    "  its rows before that epoch are kept; the other trials of its pack continue"
                )
        self._draw()

    def ended(self, pack_id: str) -> None:
        """Record that a pack is done."""
        self._done += len(self._packs[pack_id].trials)
        self._epoch[pack_id] = self._packs[pack_id].epochs
        self._begun.setdefault(pack_id, self._packs[pack_id].epochs - 1)
        self._draw()

    def _draw(self) -> None:
        now = time.monotonic()
        # The sums below run over all packs, and every pack reports, so they are not worth redoing at every report.
        if now - self._last_line < (LIVE_LINE_EVERY_S if self._live else PLAIN_LINE_EVERY_S):
            return
        self._last_line = now
        elapsed = now - self._started
        # Epochs that a pack had finished before this run cost nothing now.
        whole = sum(weight * (1 - self._behind(pack_id)) for pack_id, weight in self._weight.items())
        done = sum(self._weight[pack_id] * self._ahead(pack_id) for pack_id in self._epoch)
        running = sum(len(self._packs[p].trials) for p, epoch in self._epoch.items() if epoch < self._packs[p].epochs)
        left = f"{_clock(elapsed * (whole - done) / done)} left" if done > 0.01 * whole else "estimating the time left"
        rate = f"{self._epochs / max(elapsed, 1e-9):.1f} epochs/s"
        text = f"{self._done}/{self._total} trials done, {counted(running, 'trial')} running, {rate}, {left}"
        if self._live:
            self._live.update(self._task, description=text, completed=done, total=whole)
        else:
            say(f"[{_clock(elapsed)}] {text}")

    def _behind(self, pack_id: str) -> float:
        """Return the part of a pack that was done before this run."""
        return max(0, self._begun.get(pack_id, 0)) / self._packs[pack_id].epochs

    def _ahead(self, pack_id: str) -> float:
        """Return the part of a pack that this run has done."""
        return self._epoch[pack_id] / self._packs[pack_id].epochs - self._behind(pack_id)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
