"""Every limit is checked before what it limits is read or built, and a mark that nobody wrote is a sentence."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from analysis.claims.claim import ClaimsError
from analysis.claims.reader import read_claims
from analysis.loading.labels import LabelError, read_labels
from study.cluster.ray_up_file import read_cluster
from study.commands.main import main
from study.doctor.stored_files import examine
from study.forecast.amounts import in_bytes
from study.forecast.memory import machine_bytes, memory_notes, step_bytes
from study.grid.design import MAX_TRIALS, DesignError, cells_of
from study.grid.grid import GridError, parse_grid, read_grid
from tests import ROOT
from tests.study.finished_study import TINY, finished
from workers.contract.errors import CommandError, RecordError
from workers.contract.settings_table import settings_from
from workers.contract.trial import Pack, pack_id_of, trial_of
from workers.contract.yaml_tree import FileKind
from workers.data.images import Known
from workers.store.closing import closing_reasons, mark_closed
from workers.store.folder import FileTooLargeError, FolderStore, read_limited
from workers.store.keys import closed_key

READERS = {
    "grid": (read_grid, GridError, 32_000),
    "labels": (lambda path: read_labels(Path(path)), LabelError, 32_000),
    "claims": (read_claims, ClaimsError, 128_000),
    "cluster": (lambda path: read_cluster(str(path)), CommandError, 1_000_000),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reader", READERS)
def test_a_large_file_is_refused_by_its_size(tmp_path, reader):
    read, error, most = READERS[reader]
    path = tmp_path / "file.yaml"
    with open(path, "wb") as file:
        file.truncate(300_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(error, match=f"is 300,000,000 bytes; at most {most:,} are allowed"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_file_without_an_end_is_refused(tmp_path, reader, kind):
    read, error, _ = READERS[reader]
    path = Path("/dev/zero")
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(error, match="is a pipe or a device, not a file"):
        read(path)


def test_the_largest_file_of_a_kind_is_read_whole_and_no_byte_more(tmp_path):
    kind, path = FileKind("a note", "short", "write one", max_bytes=10), tmp_path / "note"
    path.write_bytes(b"x" * 10)
    assert read_limited(path, kind) == b"x" * 10
    path.write_bytes(b"x" * 11)
    with pytest.raises(FileTooLargeError) as caught:
        read_limited(path, kind)
    assert str(caught.value.problem) == f"{path}:1:1: is 11 bytes; at most 10 are allowed: a note is short"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs a file that says that it is empty")
def test_a_file_that_hides_its_size_is_refused_after_its_first_bytes():
    assert Path("/proc/self/status").stat().st_size == 0
    with pytest.raises(FileTooLargeError, match="is 11 bytes"):
        read_limited("/proc/self/status", FileKind("a note", "short", "write one", max_bytes=10))


# --- cells times seeds ----------------------------------------------------------------------------------------------------


def grid_of(cells: int, seeds: int, factors: str = "") -> str:
    lines = "\n".join(f"- {{n_z: {n_z}}}" for n_z in range(1, cells + 1))
    return f"study: s\nfactors: {{{factors}seed: [{','.join(map(str, range(seeds)))}]}}\ncells:\n{lines}\n"


def test_cells_times_seeds_counts_before_anything_is_built(tmp_path):
    """28 kB that made 4.19 million trials."""
    text = grid_of(1000, 2500)
    assert len(text) < 32_000
    (tmp_path / "grid.yaml").write_text(text)
    code = (
        "import resource, sys; from study.grid.design import DesignError, cells_of; from study.grid.grid import read_grid\n"
        "import study.grid.design as design\n"
        "def never(*words): raise AssertionError('a cell was built')\n"
        "design.settings_from = never\n"
        "try: cells_of(read_grid(sys.argv[1]))\n"
        "except DesignError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "grid.yaml")], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert (
        f"{tmp_path}/grid.yaml:3:1: cells: 2,500,000 trials; at most 100,000 are allowed; remove cells or seeds"
        in done.stdout
    )


def test_cells_and_factors_are_counted_together():
    fits = parse_grid(grid_of(400, 200, "k: [1, 2], "))
    assert len(cells_of(fits)) == 401, "one of the named cells is a cell of the product"
    assert 402 * 200 < MAX_TRIALS < 402 * 250
    with pytest.raises(DesignError, match=r"cells: 100,500 trials"):
        cells_of(parse_grid(grid_of(400, 250, "k: [1, 2], ")))


def test_named_cells_in_place_of_the_product_count_alone():
    """The negative control: without factors there is no product."""
    assert len(cells_of(parse_grid(grid_of(400, 250)))) == 400


# --- marks of closed packs ------------------------------------------------------------------------------------------------

MARKS = {
    "empty": b"",
    "cut": b'{"kind": "error", "rea',
    "a list": b"[1]",
    "no reason": b'{"kind": "error"}',
    "a number": b'{"kind": "error", "reason": 5}',
    "not text": b"\xff\xfe\x00",
    "brackets": b"[" * 100_000,
    "large": b" " * 2_000_000,
}


@pytest.mark.parametrize("mark", MARKS)
def test_a_damaged_mark_is_a_sentence(tmp_path, monkeypatch, capsys, mark):
    monkeypatch.chdir(tmp_path)
    tiny, key = finished(tmp_path), closed_key("ab" * 8)
    store = FolderStore(tiny)
    (tmp_path / "tiny.yaml").write_text(TINY)
    run = ["run", "tiny.yaml", "--executor", "inline", "--out", "."]
    mark_closed(store, "ab" * 8, "error", "ValueError: x")
    assert closing_reasons(store) == {"ab" * 8: "ValueError: x"}, "the negative control"
    assert not examine(store).faults
    (tiny / key).write_bytes(MARKS[mark])
    with pytest.raises(RecordError, match=f"{key}: damaged: it "):
        closing_reasons(store)
    (fault,) = examine(store).faults
    assert (fault.key, fault.is_damage) == (key, True)
    assert main(["doctor", "tiny", "--out", "."]) == 3
    assert f"{key}: damaged: it " in capsys.readouterr().out
    assert main(run) == 3
    said = capsys.readouterr().err
    assert f"{key}: damaged: it " in said
    assert "Traceback" not in said


# --- status ---------------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_status_reads_no_pipe_of_the_current_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = finished(tmp_path)
    max((tiny / "trials").iterdir()).unlink()
    os.mkfifo(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text(TINY)
    assert main(["status", "tiny", "--out", "."]) == 0
    assert "continue: study run b.yaml" in capsys.readouterr().out


# --- memory ---------------------------------------------------------------------------------------------------------------


def pack_of(k: int, seeds: int, **values: object) -> Pack:
    trials = [
        trial_of(settings_from({"k": k, "seed": seed, "training.batch_size": 100, **values}), "0" * 64)
        for seed in range(seeds)
    ]
    return Pack(pack_id=pack_id_of([trial.trial_id for trial in trials], None, 0), trials=tuple(trials), borders=(1,))


MNIST = Known("0" * 64, 60_000, 10_000, 784)


def test_the_memory_of_a_step_by_hand():
    pack = pack_of(10_000, 8, **{"model.hidden": (200, 100), "n_z": 50, "decoder": "bernoulli", "batch_norm": False})
    assert step_bytes(pack, MNIST) == 8 * 100 * 10_000 * (2 * 784 + 300 + 2 * 50) * 4
    pack = pack_of(5, 1, **{"model.hidden": (200,), "n_z": 50, "decoder": "bernoulli", "batch_norm": True})
    assert step_bytes(pack, MNIST) == 100 * 5 * (2 * 784 + 2 * 200 + 100) * 4


def test_what_cannot_fit_is_said_and_what_fits_is_not():
    packs = [pack_of(10_000, 8), pack_of(10_000, 4), pack_of(1, 8)]
    need = step_bytes(packs[0], MNIST)
    (line,) = memory_notes(packs, MNIST, "cpu", 2, need / 2)
    assert line.startswith("memory: a step of a pack of 8 trials with K = 10000 needs at least ")
    assert f"but this machine has {in_bytes(need / 2)}: it will run out of memory" in line
    (line,) = memory_notes(packs, MNIST, "cpu", 2, 1.2 * need)
    assert f"and {in_bytes(1.5 * need)} with the 1 pack beside it" in line
    assert memory_notes(packs, MNIST, "cpu", 2, 1.6 * need) == []
    assert memory_notes(packs, MNIST, "cpu", 1, 1.2 * need) == []
    assert memory_notes(packs, MNIST, "cpu", 2, None) == memory_notes([], MNIST, "cpu", 2, 1.0) == []
    assert "a large GPU has 80.0 GB" in memory_notes([pack_of(10_000, 64)], MNIST, "cuda", 1, None)[0]
    assert memory_notes([pack_of(50, 64)], MNIST, "cuda", 1, None) == []


@pytest.mark.parametrize(("k", "is_said"), [(10_000, True), (5, False)])
def test_a_plan_says_it(tmp_path, monkeypatch, capsys, k, is_said):
    monkeypatch.chdir(tmp_path)
    assert machine_bytes() > 100e6
    monkeypatch.setattr("study.pipeline.machine_bytes", lambda: 1e9)
    (tmp_path / "g.yaml").write_text(f"study: s\nfactors: {{k: [{k}], seed: [0, 1]}}\nrun: {{device: cpu}}\n")
    assert main(["plan", "g.yaml", "--executor", "inline"]) == 0
    assert ("it will run out of memory; choose a smaller k" in capsys.readouterr().out) == is_said
