"""`study doctor`: a line a check; every planted fault is found, named, and has a next step."""

import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.commands.main import main
from study.commands.run import main as run
from study.doctor import machine_checks as checkup
from study.doctor import versions
from study.doctor.stored_files import examine
from study.doctor.versions import is_within
from study.drive.lease import hold
from tests.study.finished_study import TINY, changed
from workers.store.folder import FolderStore
from workers.store.open import open_store
from workers.store.parquet import decode_with_footer, encode


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    """No token of this machine's user, no GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("study.plan.machine.gpu_count", lambda: 0)
    monkeypatch.setattr(checkup, "gpu_count", lambda: 0)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    Path("tiny.yaml").write_text(TINY)


def doctor(capsys, *words: str, code: int = 0) -> list[str]:
    assert main(["doctor", *words]) == code
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert all(line.startswith(("ok       ", "problem  ")) for line in lines)
    return [line for line in lines if line.startswith("problem")] if code else lines


def test_a_healthy_machine_and_study(capsys, tiny):
    before = {*Path().rglob("*")}
    lines = doctor(capsys, "tiny", "--data", "tiny.yaml")
    assert [line.split()[1].rstrip(":") for line in lines] == [
        "packages",
        "device",
        "results",
        "space",
        "data",
        "data",
        "token",
        "study",
    ]
    rows = len(pd.read_parquet(tiny / "epochs"))
    files = {name: len(list((tiny / name).iterdir())) for name in ("trials", "epochs", "plan", "checkpoints", "weights")}
    counts = ", ".join(f"{count} in {name}" for name, count in files.items())
    assert lines[-1] == f"ok       study tiny: every file is intact ({counts}); {rows} rows, no duplicates, no gaps"
    assert {*Path().rglob("*")} - before == {Path("tiny-data.png")}, "nothing else is left behind"


def test_without_a_study_the_folder_need_not_be_there(capsys):
    lines = doctor(capsys, "--out", "a/b")
    assert len(lines) == 4
    assert not Path("a").exists()


# ---- Every file of a study ----


@pytest.mark.parametrize("folder", ["plan", "epochs", "trials", "weights", "checkpoints"])
@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_a_damaged_file_is_named(capsys, tiny, folder, how):
    path = max((tiny / folder).iterdir())
    raw = bytearray(path.read_bytes())
    if how == "cut":
        raw = raw[:-40]
    elif path.suffix == ".parquet":
        # The last byte of a page: what only readers of Parquet's own tables see has no checksum.
        column = pq.read_metadata(path).row_group(0).column(1)
        raw[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1] ^= 0xFF
    else:
        # Of a trained model nothing but its header can tell.
        raw[12] ^= 0xFF
    path.write_bytes(raw)
    problems = doctor(capsys, "tiny", code=3)
    named = [line for line in problems if f"results/tiny/{folder}/{path.name}: damaged" in line]
    assert len(named) == 1, problems
    assert re.search("; (restore it from a copy|delete it)", named[0])


def test_other_numbers_with_an_old_hash_are_found(capsys, tiny):
    """Page checksums and format are whole; only the content hash tells."""
    path = min((tiny / "epochs").iterdir())
    table = pq.read_table(path)
    values = [value + 1e-9 for value in table["test_elbo"].to_pylist()]
    other = table.set_column(table.schema.get_field_index("test_elbo"), "test_elbo", [values])
    pq.write_table(other.replace_schema_metadata(table.schema.metadata), path)
    problems = doctor(capsys, "tiny", code=3)
    assert f"{path.name}: damaged: its content is not what was written; restore it from a copy" in problems[0]


def test_a_lost_file_is_a_gap(capsys, tiny):
    lost = sorted((tiny / "epochs").iterdir())[0]
    rows = pd.read_parquet(lost)
    lost.unlink()
    problems = doctor(capsys, "tiny", code=3)
    assert len(problems) == rows["trial_id"].nunique()
    for trial_id in rows["trial_id"].unique():
        assert any(
            f"epochs of trial {trial_id} are missing, the first of them epoch {rows['epoch'].min()};" in p for p in problems
        )


def written_again(path: Path, table, footer: dict) -> None:
    path.write_bytes(encode(table, {name: value for name, value in footer.items() if not name.endswith("s_sha256")}))


def test_rows_that_are_stored_twice_are_found(capsys, tiny):
    path = max((tiny / "epochs").iterdir())
    table, footer = decode_with_footer(path.read_bytes(), path.name)
    written_again(path, pa.concat_tables([table, table]), footer)
    problems = doctor(capsys, "tiny", code=3)
    found = [re.search(r"epoch (\d+) of trial (\w+) is stored twice \(see epochs/(.*)\); move", one) for one in problems]
    rows = zip(table["epoch"].to_pylist(), table["trial_id"].to_pylist(), strict=True)
    assert [one.groups() for one in found] == [(str(epoch), trial_id, path.name) for epoch, trial_id in rows]


@pytest.mark.parametrize(
    ("folder", "name", "text"),
    [
        ("epochs", "{pack}-000090-000091.parquet", "contains epoch"),
        ("epochs", "{other}-{rest}", "belongs to pack {pack}"),
        ("trials", "{pack}-000090.parquet", "contains epoch"),
        ("trials", "{other}-{rest}", "belongs to pack {pack}"),
    ],
)
def test_a_file_under_another_name_is_found(capsys, tiny, folder, name, text):
    path = max((tiny / folder).iterdir())
    pack, _, rest = path.name.partition("-")
    words = {"pack": pack, "rest": rest, "other": "f" * len(pack)}
    path.rename(path.with_name(name.format(**words)))
    problems = doctor(capsys, "tiny", code=3)
    assert any(f"{folder}/{name.format(**words)}: {text.format(**words)}" in line for line in problems), problems


def test_a_file_that_ends_at_no_border_is_found(capsys, tiny):
    """Two borders in one file: every row is there, once."""
    *_, before, path = sorted((tiny / "epochs").iterdir())
    assert before.name[:16] == path.name[:16]
    tables = [decode_with_footer(one.read_bytes(), one.name) for one in (before, path)]
    both = before.with_name(before.name[:23] + path.name[23:])
    for one in (before, path):
        one.unlink()
    written_again(both, pa.concat_tables([table for table, _ in tables]), tables[1][1])
    problems = doctor(capsys, "tiny", code=3)
    assert any(f"{both.name}: begins or ends where pack {path.name[:16]} has no border" in line for line in problems)


@pytest.mark.parametrize("how", ["lost", "older"])
def test_an_entry_of_the_plan_that_is_lost_or_older_is_found(capsys, tiny, how):
    first, *_, last = sorted((tiny / "plan").iterdir())
    if how == "lost":
        first.rename(
            last.with_name("000900.parquet" if last.name == "000899.parquet" else f"{int(last.stem) + 1:06d}.parquet")
        )
    else:
        shutil.copy(first, last.with_name(f"{int(last.stem) + 1:06d}.parquet"))
    problems = doctor(capsys, "tiny", code=3)
    assert any(("is missing, although" if how == "lost" else "is not a new entry") in line for line in problems), problems


def test_rows_of_a_trial_that_was_never_planned_are_found(capsys, tiny):
    path = max((tiny / "epochs").iterdir())
    changed(path, lambda frame: frame.__setitem__("trial_id", "f" * 16))
    problems = doctor(capsys, "tiny", code=3)
    assert any(f"has rows of trial {'f' * 16}, which is not in the plan" in line for line in problems)


@pytest.mark.parametrize("folder", ["plan", "epochs", "trials", "weights", "checkpoints", "lease"])
def test_a_stray_file_is_no_damage_but_said(capsys, tiny, folder):
    (tiny / folder).mkdir(exist_ok=True)
    (tiny / folder / "notes.txt").write_text("mine")
    (problem,) = doctor(capsys, "tiny", code=2)
    assert problem.endswith(
        f"results/tiny/{folder}/notes.txt: does not belong in {folder}/; move it out of the study's folder"
    )


def test_what_belongs_beside_the_results_is_no_stray(capsys, tiny):
    for name in ("report.html", "labels.yaml", "figures/a.png", "verify/x/verify.json", "checkpoints/stop-ab"):
        (tiny / name).parent.mkdir(parents=True, exist_ok=True)
        (tiny / name).write_text("")
    with hold(open_store(str(tiny)), "ab", print):
        doctor(capsys, "tiny")


def test_hidden_files_of_broken_writes_are_counted(capsys, tiny):
    (tiny / "epochs" / ".x.parquet.0011").write_bytes(b"half")
    lines = doctor(capsys, "tiny")
    assert lines[-1].startswith("ok       1 hidden files of interrupted writes, 4 bytes, the first epochs/.x.parquet.0011")


def test_a_checkpoint_that_a_pack_needs_is_missed(capsys, tiny):
    """Of a pack that has ended nobody needs one."""
    shutil.rmtree(tiny / "checkpoints")
    doctor(capsys, "tiny")
    child = max((tiny / "trials").glob("*-000004.parquet"))
    child.unlink()
    max((tiny / "epochs").glob(f"{child.name[:16]}-*-000004.parquet")).unlink()
    (problem,) = doctor(capsys, "tiny", code=3)
    assert f"is missing, but pack {child.name[:16]} continues from it; run the study" in problem


def test_many_faults_are_not_all_told(capsys, tiny):
    for number in range(30):
        (tiny / "epochs" / f"stray-{number}").write_text("")
    problems = doctor(capsys, "tiny", code=2)
    assert len(problems) == 21
    assert problems[-1] == "problem  and 10 more problems"


def test_a_border_without_rows_or_checkpoint_is_whole(tiny):
    """Where nothing was left to train: no rows, and a footer that names no checkpoint."""
    end = max((tiny / "trials").glob("*-000004.parquet"))
    (path,) = (tiny / "epochs").glob(f"{end.name[:16]}-*-000004.parquet")
    changed(end, lambda frame: frame.__setitem__("last_epoch", 3) or frame.__setitem__("status", "diverged"))
    table, footer = decode_with_footer(path.read_bytes(), path.name)
    del footer["checkpoint"], footer["checkpoint_sha256"]
    written_again(path, table.slice(0, 0), footer | {"closed": True})
    assert examine(open_store(str(tiny))).faults == []


# ---- The machine ----


class Replacing(FolderStore):
    """Like a disk on which a link replaces what is there."""

    def create(self, key: str, raw: bytes) -> bool:
        self.root.mkdir(exist_ok=True)
        (self.root / key).write_bytes(raw)
        return True


class Unlinkable(FolderStore):
    """Like a disk without hard links."""

    def create(self, key: str, raw: bytes) -> bool:
        raise OSError(95, "Operation not supported")


@pytest.mark.parametrize(
    ("kind", "text"), [(Replacing, "lets a stored file be replaced"), (Unlinkable, "Operation not supported")]
)
def test_a_disk_that_breaks_a_promise_is_found(capsys, monkeypatch, kind, text):
    monkeypatch.setattr(checkup, "open_store", kind)
    (problem,) = doctor(capsys, code=2)
    assert problem.startswith("problem  results: ")
    assert text in problem
    assert sorted(Path().iterdir()) == [Path("tiny.yaml")]


def test_a_folder_that_is_a_file(capsys):
    problems = doctor(capsys, "--out", "tiny.yaml", code=2)
    assert "tiny.yaml is a file; name a folder" in problems[0]


def test_too_little_space_for_the_grid(capsys, monkeypatch):
    free = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type(free)(free.total, free.used, 1000))
    (problem,) = doctor(capsys, "--data", "tiny.yaml", code=2)
    assert re.search(r"space: 1\.0 kB free, the grid needs about [0-9.]+ .?B; free some, or name another --out", problem)


@pytest.mark.parametrize(("keep", "copies"), [("all", 4), ("none", 3)])
def test_the_space_of_a_grid_is_what_the_forecast_of_its_run_says(capsys, keep, copies):
    """Rows of seven vectors, and of the parameters a checkpoint (with two moments) and, if kept, the weights."""
    Path("g.yaml").write_text(
        "study: s\nmodel: {hidden: [200, 200]}\nfactors: {n_z: [50], seed: [0]}\ntraining: {epochs: 300}\n"
        f"run: {{device: cpu, commit_every: 300, keep_weights: {keep}}}\n"
    )
    takes = next(match[1] for line in doctor(capsys, "--data", "g.yaml") if (match := re.search(r"needs about (.+)$", line)))
    assert run(["g.yaml", "--plan", "--executor", "inline"]) == 0
    assert f", {takes} more on disk" in capsys.readouterr().out
    parameters = 64 * 200 + 200 * 200 + 200 * 100 + 50 * 200 + 200 * 200 + 200 * 64
    least = 301 * 4 * 7 * 50 + copies * 4 * parameters
    assert takes.endswith(" MB")
    assert least < 1e6 * float(takes.split()[0]) < 1.1 * least


@pytest.mark.parametrize(
    ("data", "text", "code"),
    [
        ("{name: binarized_mnist, root: none}", "binarized_mnist", 2),
        ("{name: npz, path: tiny.yaml}", "tiny.yaml is not an .npz file", 3),
    ],
    ids=["not there", "damaged"],
)
def test_data_that_cannot_be_read(capsys, data, text, code):
    Path("g.yaml").write_text(f"study: s\ndata: {data}\n")
    assert any(text in line for line in doctor(capsys, "--data", "g.yaml", code=code))


def test_a_device_that_is_not_there(capsys):
    Path("g.yaml").write_text("study: s\nrun: {device: cuda}\n")
    (problem,) = doctor(capsys, "--data", "g.yaml", code=2)
    assert problem.startswith(
        "problem  device: run.device: got cuda, but this machine shows no NVIDIA GPU (looked for /proc"
    )
    assert problem.endswith("; allowed here: auto, cpu")


def token(tmp_path: Path, mode: int, text: str = "secret-word") -> Path:
    path = tmp_path / "home" / ".ray" / "auth_token"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_token_of_its_own(capsys, tmp_path, mode):
    path = token(tmp_path, mode)
    assert f"ok       token: {path}, mode {mode:04o}" in doctor(capsys)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_token_that_others_can_read(capsys, tmp_path, mode):
    path = token(tmp_path, mode)
    assert doctor(capsys, code=2) == [f"problem  token: others can read {path} (mode {mode:04o}); run chmod 600 {path}"]


def test_a_token_that_is_empty_or_asked_for_and_not_there(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    (problem,) = doctor(capsys, code=2)
    assert "RAY_AUTH_MODE is token, but " in problem
    token(tmp_path, 0o600, text="")
    assert "auth_token is empty" in doctor(capsys, code=2)[0]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-word")
    assert "secret-word" not in "".join(doctor(capsys))
    assert os.environ["RAY_AUTH_TOKEN"] == "secret-word"


# ---- Versions ----


@pytest.mark.parametrize(
    ("there", "allowed", "fits"),
    [
        ("2.14.1", ">=2.11,<3", True),
        ("2.14.1", "<3,>=2.11", True),
        ("3.0", ">=2.11,<3", False),
        ("2.9", ">=2.11,<3", False),
        ("2.11", ">=2.11.0,<3", True),
        ("3.0.0", "<3", False),
        ("2.13.0+cpu", ">=2.11,<3", True),
        ("0.14.5", ">=0.14.5,<0.16", True),
        ("0.16.0", ">=0.14.5,<0.16", False),
        ("10.0", ">=9", True),
        ("1.2", "", True),
        ("1.2", "==1.2.0", True),
        ("1.2", "!=1.2", False),
    ],
)
def test_ranges(there, allowed, fits):
    assert is_within(there, allowed) is fits


def test_packages_out_of_range_or_missing_are_named(capsys, monkeypatch):
    wanted = ["numpy<3,>=2.2", "ray[tune]<3,>=2.60", "torch<2,>=1", "nonesuch>=1", 'pytest<1; extra == "test"']
    monkeypatch.setattr(versions, "requires", lambda name: wanted)
    (problem,) = doctor(capsys, code=2)
    assert "nonesuch: not installed; allowed: >=1" in problem
    assert re.search(r"torch: got \d+\.\S+; allowed: <2,>=1", problem)
    assert "pytest" not in problem
    assert "numpy" not in problem


def test_a_study_of_another_version_is_no_damage(capsys, monkeypatch, tiny):
    """It is whole: the exit code is that of every other command."""
    monkeypatch.setattr("workers.store.parquet.SCHEMA_VERSION", 99)
    problems = doctor(capsys, "tiny", code=2)
    assert problems
    assert all("but this program reads 99" in problem for problem in problems)
