"""Plain lines where there is no terminal: what is done, what runs, how long it will take, what went wrong."""

import re
from types import SimpleNamespace

import pytest

from study.drive import progress
from study.drive.progress import Display
from study.plan.packing import make_pack
from tests.study.small_study import DIGITS, trials_from
from workers.contract.errors import report_error
from workers.contract.settings import RunSettings
from workers.contract.trial import Pack


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that stands still until a test moves it."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def pack_of(*seeds: int, epochs: int = 100) -> Pack:
    trials = trials_from(f"factors: {{seed: {list(seeds)}}}", f"training: {{epochs: {epochs}}}")
    return make_pack(trials, RunSettings(), "cpu", DIGITS)


def display_of(*packs: Pack, weights: tuple[float, ...] = (), done: int = 0) -> Display:
    ids = [pack.pack_id for pack in packs]
    seconds = dict(zip(ids, weights or [1.0] * len(ids), strict=True))
    return Display(seconds, dict(zip(ids, packs, strict=True)), done)


def seconds_left(line: str) -> int:
    hours, minutes, seconds = re.search(r"(?:(\d+):)?(\d+):(\d\d) left", line).groups()
    return 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)


def test_a_line_every_ten_seconds_and_the_time_left_falls(clock, capsys):
    first, second = pack_of(0, 1), pack_of(2, 3)
    with display_of(first, second) as display:
        for pack in (first, second):
            for epoch in range(1, 101):
                clock.now += 1.0
                display.epoch(pack.pack_id, epoch, {})
            display.ended(pack.pack_id)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    left = [seconds_left(line) for line in lines]
    assert left == [190 - 10 * i for i in range(20)]
    assert [re.search(r"(\d+)/4 trials", line)[1] for line in lines] == ["0"] * 10 + ["2"] * 10
    assert lines[0] == "[0:10] 0/4 trials done, 2 trials running, 2.0 epochs/s, 3:10 left"
    assert lines[-1].startswith("[3:20] 2/4 trials done, ")


def test_the_time_left_counts_large_packs_for_more(clock, capsys):
    small, large = pack_of(0, epochs=10), pack_of(1, epochs=10)
    display = display_of(small, large, weights=(10.0, 90.0))
    for epoch in range(1, 11):
        clock.now += 1.0
        display.epoch(small.pack_id, epoch, {})
    (line,) = capsys.readouterr().out.splitlines()
    assert seconds_left(line) == 90


def test_a_resumed_pack_is_judged_by_what_this_run_has_to_do(clock, capsys):
    pack = pack_of(0)
    display = display_of(pack)
    for epoch in range(51, 61):
        clock.now += 1.0
        display.epoch(pack.pack_id, epoch, {})
    (line,) = capsys.readouterr().out.splitlines()
    assert seconds_left(line) == 40
    assert "1.0 epochs/s" in line


def test_a_part_that_is_done_is_counted(clock, capsys):
    pack = pack_of(0, 1)
    display = display_of(pack, done=3)
    clock.now += 11
    display.epoch(pack.pack_id, 1, {})
    display.ended(pack.pack_id)
    clock.now += 11
    display.epoch(pack.pack_id, 100, {})
    lines = capsys.readouterr().out.splitlines()
    assert "3/5 trials done, 2 trials running" in lines[0]
    assert "5/5 trials done, 0 trials running" in lines[1]


def test_reports_that_skip_epochs_count_them(clock, capsys):
    """Small models do not report every epoch."""
    pack = pack_of(0, 1)
    display = display_of(pack)
    display.epoch(pack.pack_id, 1, {})
    clock.now += 10
    display.epoch(pack.pack_id, 21, {})
    (line,) = capsys.readouterr().out.splitlines()
    assert "4.2 epochs/s" in line


def test_an_epoch_that_is_told_twice_counts_once(clock, capsys):
    """At a border a worker says again where it stands, with what is committed."""
    pack = pack_of(0)
    display = display_of(pack)
    for _ in range(3):
        display.epoch(pack.pack_id, 1, {})
    clock.now += 10
    display.epoch(pack.pack_id, 2, {})
    (line,) = capsys.readouterr().out.splitlines()
    assert "0.2 epochs/s" in line


def test_little_is_said_before_something_is_known(clock, capsys):
    pack = pack_of(0, epochs=1000)
    display = display_of(pack)
    clock.now += 10
    display.epoch(pack.pack_id, 1, {})
    assert "estimating the time left" in capsys.readouterr().out


def test_a_diverged_trial_is_told_once_with_its_cell(clock, capsys):
    pack = pack_of(0, 7)
    fallen = pack.trials[1].trial_id
    display = display_of(pack)
    for epoch in (3, 4, 5):
        display.epoch(pack.pack_id, epoch, {fallen: 3})
    said = capsys.readouterr().out
    assert said.count(fallen) == 1
    assert "diverged in epoch 3, because a bound is not finite: " in said
    assert f"decoder=bernoulli k=1 batch_norm=false warmup=0 n_z=50 seed=7 ({fallen})" in said
    assert "the other trials of its pack continue" in said


def test_a_diverged_trial_is_told_with_every_factor_that_it_has(clock, capsys):
    """Where the learning rate is a factor, it is what the reader looks for."""
    trials = trials_from("factors: {training.learning_rate: [5]}")
    pack = make_pack(trials, RunSettings(), "cpu", DIGITS)
    display_of(pack).epoch(pack.pack_id, 1, {trials[0].trial_id: 1})
    assert "training.learning_rate=5" in capsys.readouterr().out


def test_long_times_have_hours(clock, capsys):
    pack = pack_of(0, epochs=10)
    display = display_of(pack)
    clock.now += 1000
    display.epoch(pack.pack_id, 1, {})
    assert capsys.readouterr().out.startswith("[16:40] 0/1 trials done, 1 trial running, 0.0 epochs/s, 2:30:00 left")


@pytest.mark.parametrize(
    "text",
    ["grid.yaml:1:2: [bold]got[/bold] {x}", "long " * 60 + ".", "grid.yaml:100:4: factors.k: got 0", "two\nlines", "ü €"],
    ids=["markup", "long", "an emoji to rich", "lines", "letters"],
)
def test_errors_go_to_stderr_as_they_are(capsys, text):
    report_error(text)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{text}\n"
