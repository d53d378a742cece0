"""Nothing stored or loaded is unpickled or run, nothing of the environment is stored, nothing is sent, no name leaves the folder."""

import ast
import hashlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis.claims.__main__ import main as claims_main
from analysis.latent import models
from analysis.latent.__main__ import main as latent_main
from analysis.report.__main__ import main as report_main
from tests import ROOT
from tests.breaking import victim
from workers.contract.errors import RecordError
from workers.contract.settings import DataSettings
from workers.data.images import load_images
from workers.store.folder import FolderStore
from workers.store.keys import checkpoint_key, epochs_key, plan_key, trials_key, weights_key
from workers.store.listing import segments
from workers.store.parquet import decode_with_footer, encode

SOURCES = sorted(path for room in ("study", "workers", "analysis") for path in (ROOT / room).glob("**/*.py"))


# --- the source ---------------------------------------------------------------------------------------------------------

MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle", "pty"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {
    *(("torch", name) for name in ("load", "save", "jit", "hub", "package")),
    *(
        ("yaml", name)
        for name in ("load", "load_all", "unsafe_load", "full_load", "unsafe_load_all", "Loader", "UnsafeLoader")
    ),
    *(("os", name) for name in ("system", "popen", "execv", "execve", "spawnl")),
    *(("subprocess", name) for name in ("getoutput", "getstatusoutput")),
    *(("np", name) for name in ("load", "loads")),
    *(("pd", name) for name in ("read_pickle", "eval")),
}


def dangers(source):
    """What in a module could run what it reads, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            found += [(line, alias.name) for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            if (node.module or "").split(".")[0] in MODULES or any((node.module, name) in ATTRIBUTES for name in names):
                found.append((line, f"from {node.module} import {', '.join(sorted(names))}"))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in ATTRIBUTES:
                found.append((line, f"{node.value.id}.{node.attr}"))
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in CALLS:
                found.append((line, node.func.id))
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else "unknown"
                if keyword.arg in ("shell", "allow_pickle") and value is not False:
                    found.append((line, f"{keyword.arg}={value}"))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_source_can_run_what_it_reads(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from dill import loads",
        "import joblib.x",
        "torch.load(f)",
        "from torch import load",
        "np.load(f, allow_pickle=True)",
        "read_array(f, allow_pickle=flag)",
        "yaml.load(f, Loader=yaml.SafeLoader)",
        "eval(text)",
        "exec(text)",
        "os.system('x')",
        "subprocess.run('x', shell=True)",
        "pd.read_pickle(f)",
    ],
)
def test_the_scan_sees_it(source):
    assert dangers(source)


# --- pickles in every stored place ----------------------------------------------------------------------------------------


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it was unpickled"


@pytest.fixture
def bomb(marker):
    return pickle.dumps(Payload(marker))


def object_array(bomb_array):
    """An .npz file whose one array can be read by unpickling alone."""
    sink = io.BytesIO()
    np.savez(sink, images=bomb_array)
    return sink.getvalue()


def test_the_payload_works_where_it_is_unpickled(bomb, marker):
    """The negative control."""
    pickle.loads(bomb)
    assert marker.exists()
    marker.rmdir()
    array = np.array([Payload(marker)], dtype=object)
    np.load(io.BytesIO(object_array(array)), allow_pickle=True)["images"]
    assert marker.exists()


@pytest.mark.parametrize("folder", victim.STORED)
def test_a_pickle_among_the_results_is_not_unpickled(made, tmp_path, bomb, marker, folder):
    root = victim.copy(made, tmp_path / "copy")
    for file in sorted((root / folder).iterdir()):
        victim.replace(file, bomb)
    # The report reads no weights, and would take half a minute.
    commands = (latent_main,) if folder == "weights" else (report_main, claims_main, latent_main)
    for main in commands:
        assert victim.said(main, [str(root)])[0] == 3
    for number, file in enumerate(sorted((root / "weights").iterdir())):
        if folder == "weights" and number < 3:
            trial_id, epochs = file.stem.split("-")
            with pytest.raises(RecordError):
                models.read_model(root, trial_id, int(epochs))
    assert not marker.exists()


def test_a_pickle_that_the_rows_name_as_their_checkpoint_is_not_unpickled(tmp_path, bomb, marker):
    """Somebody who can write the folder can also write rows whose footer has the right checksum."""
    assert victim.run(tmp_path, "--set", "n_z=2")[0] == 0
    store = FolderStore(tmp_path / "victim")
    for one in segments(store):
        table, footer = decode_with_footer(store.read(one.key), one.key)
        footer["checkpoint_sha256"] = hashlib.sha256(bomb).hexdigest()
        (store.root / one.key).write_bytes(encode(table, footer))
        (store.root / footer["checkpoint"]).write_bytes(bomb)
    code, text = victim.run(tmp_path, "--set", "n_z=2", "--set", "training.epochs=3")
    assert "Traceback" not in text
    assert code in (0, 1, 3, 4)
    assert not marker.exists()


def test_a_checkpoint_outside_the_study_is_neither_read_nor_deleted(tmp_path):
    """A driver used to delete what the rows of two borders before named."""
    assert victim.run(tmp_path, "--set", "n_z=2")[0] == 0
    store = FolderStore(tmp_path / "victim")
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"somebody's")
    for name in (str(secret), "../secret.txt", "/dev/zero"):
        newest = [one for one in segments(store) if one.last == 2]
        for one in newest:
            table, footer = decode_with_footer(store.read(one.key), one.key)
            facts = {**footer, "checkpoint": name, "checkpoint_sha256": hashlib.sha256(secret.read_bytes()).hexdigest()}
            (store.root / one.key).write_bytes(encode(table, facts))
        before = sorted(tmp_path.rglob("*"))
        code, text = victim.run(tmp_path, "--set", "n_z=2", "--set", "training.epochs=5")
        assert code == 3, text
        assert "Traceback" not in text
        assert all(f"{one.key}: damaged: it names {name} as its checkpoint" in text for one in newest)
        assert secret.read_bytes() == b"somebody's"
        made = {str(path.relative_to(tmp_path)) for path in set(tmp_path.rglob("*")) - set(before)}
        assert made <= {"victim/plan/000002.parquet", "victim/lease"}


@pytest.mark.parametrize("kind", ["pickle", "pickle in a zip", "array of objects"])
def test_a_pickle_as_data_is_not_unpickled(tmp_path, bomb, marker, kind):
    file = tmp_path / "mine.npz"
    if kind == "pickle":
        file.write_bytes(bomb)
    elif kind == "pickle in a zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("images.npy", bomb)
    else:
        file.write_bytes(object_array(np.array([Payload(marker)], dtype=object)))
    with pytest.raises(ValueError, match=r"not an \.npz file of plain arrays"):
        load_images(DataSettings(name="npz", path=str(file)))
    assert not marker.exists()


def test_a_pickle_or_a_tag_as_a_file_of_text_is_not_run(made, tmp_path, bomb, marker):
    tag = f"a: !!python/object/apply:os.mkdir ['{marker}']".encode()
    for raw in (bomb, tag, b"!!python/object/apply:os.mkdir ['" + str(marker).encode() + b"']"):
        file = tmp_path / "file.yaml"
        file.write_bytes(raw)
        from study.commands.run import main

        assert victim.said(main, [str(file), "--plan"])[0] == 2
        assert victim.said(report_main, [f"--labels={file}", str(made)])[0] == 2
        assert victim.said(claims_main, [f"--claims={file}", str(made)])[0] == 2
    assert not marker.exists()


# --- what is stored -------------------------------------------------------------------------------------------------------

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "WANDB_API_KEY": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c",
    "HOME": "/home/odd-home-of-nobody",
    "USER": "odd-user-of-nobody",
    "LOGNAME": "odd-logname-of-nobody",
    "HOSTNAME": "odd-host-of-nobody",
}


def readable(path):
    """Every stored byte of a file, as it lies there and decompressed."""
    raw = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        raw += repr(table.to_pylist()).encode() + repr(table.schema.metadata).encode()
    return raw


def test_nothing_of_the_environment_is_stored(tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("socket.gethostname", lambda: SECRETS["HOSTNAME"])
    assert victim.run(tmp_path, "--set", "n_z=2", "--only", "k=1", "--only", "seed=0")[0] == 0
    files = [path for path in (tmp_path / "victim").rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == {*victim.STORED, "checkpoints"}
    for path in files:
        text = readable(path)
        # The folder that was given is the test's own; it is not stored either.
        for word in (*SECRETS.values(), str(tmp_path), str(Path.cwd())):
            assert word.encode() not in text, f"{path.name} holds {word}"


def test_the_search_would_find_it(made, tmp_path):
    """The negative control: in a footer, and in a column whose pages are compressed."""
    table = pq.read_table(next(iter((made / "trials").iterdir())))
    word = SECRETS["USER"]
    (tmp_path / "footer.parquet").write_bytes(encode(table, {"provenance": {"user": word}}))
    column = table.set_column(table.schema.get_field_index("device"), "device", [[word * 9] * len(table)])
    (tmp_path / "column.parquet").write_bytes(encode(column, {}))
    assert all(word.encode() in readable(tmp_path / name) for name in ("footer.parquet", "column.parquet"))


# --- what is sent ---------------------------------------------------------------------------------------------------------

CATCH = """
import os, sys
{before}

class Seen(Exception):
    pass

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "ray":
            raise Seen({{key: os.environ.get(key) for key in ("RAY_USAGE_STATS_ENABLED", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS")}})

sys.meta_path.insert(0, Finder())
try:
    {call}
except Seen as seen:
    print(seen.args[0])
"""
RUN = (
    "import study.drive.executors.ray_tune\n",
    "study.drive.executors.ray_tune.RayTune().run([], study.drive.executors.executor.Resources(1, 0, 1), None)",
)
JOIN = (
    # Nobody is there to be asked; what asks does so in a process of its own.
    "import study.cluster.join; from workers.contract.settings import RunSettings\n"
    "study.cluster.join.knock = study.cluster.join.refuse_shut_cluster = lambda named: None\n",
    "study.cluster.join.join_cluster(study.cluster.named.Named('127.0.0.1:1'), RunSettings())",
)


def at_import_of_ray(before, call):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    code = CATCH.format(before=before, call=call)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT, check=True
    )
    return ast.literal_eval(done.stdout)


@pytest.mark.parametrize(("before", "call"), [RUN, JOIN], ids=["run", "join"])
def test_statistics_of_ray_are_off_before_ray_is_imported(before, call):
    assert at_import_of_ray(before, call) == {"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}


def test_it_would_be_seen_if_they_were_on():
    off = "study.drive.executors.ray_tune.quiet_environment = study.cluster.local_ray.quiet_environment = lambda: None\n"
    assert at_import_of_ray(RUN[0] + off, RUN[1])["RAY_USAGE_STATS_ENABLED"] is None


def test_ray_takes_the_word_for_it():
    code = (
        "from study.drive.executors.ray_tune import quiet_environment; quiet_environment()\n"
        "from ray._common.usage.usage_lib import usage_stats_enabled; print(usage_stats_enabled())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_source_opens_a_connection(path):
    """But those that speak with a cluster that the user names, and torchvision's download of a data set that is asked for."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module != "urllib.parse":  # which opens nothing
            imported.add((node.module or "").split(".")[0])
    found = imported & {
        "socket",
        "http",
        "urllib",
        "requests",
        "httpx",
        "aiohttp",
        "ftplib",
        "smtplib",
        "sentry_sdk",
        "streamlit",
    }
    asking = {
        "named.py": {"socket"},
        "tunnel.py": {"socket"},
        "jobs.py": {"aiohttp", "requests"},
        "open_ports.py": {"socket", "http", "urllib"},
    }
    assert found <= (asking.get(path.name, set()) if path.parent.name == "cluster" else set())


# --- names ----------------------------------------------------------------------------------------------------------------


def test_ids_that_could_leave_the_folder_are_no_ids():
    """Every key is made of ids and numbers; an id has sixteen hexadecimal digits, whoever wrote the plan."""
    from pydantic import ValidationError

    from workers.contract.settings import Settings
    from workers.contract.trial import Pack, trial_of

    trial = trial_of(Settings(), "0" * 64)
    assert Pack(pack_id="0" * 16, trials=(trial,), borders=(1,))
    for name in ("../x", "/x", "0" * 15, "0" * 17, "0" * 15 + "\n", "0" * 16 + "\n", "..", ""):
        with pytest.raises(ValidationError):
            Pack(pack_id=name, trials=(trial,), borders=(1,))
        with pytest.raises(ValidationError):
            type(trial)(trial_id=name, fingerprint="0" * 64, settings=Settings())
    whole, attempt = "0" * 16, "0" * 8
    keys = (
        plan_key(1),
        epochs_key(whole, 0, 1),
        trials_key(whole, 1),
        weights_key(whole, 1),
        checkpoint_key(whole, 1, attempt),
    )
    assert all(key.count("/") == 1 and ".." not in key for key in keys)


def test_figures_are_not_written_through_a_link(made, tmp_path):
    root = victim.copy(made, tmp_path / "copy")
    (tmp_path / "outside").mkdir()
    (root / "figures").symlink_to(tmp_path / "outside")
    code, text = victim.said(report_main, [str(root), "--figure", "spectrum", "--format", "svg"])
    assert code == 2
    assert f"{root}/figures: cannot be written (is a link to another folder)" in text
    assert not list((tmp_path / "outside").iterdir())
