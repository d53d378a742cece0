"""What every store promises, and what the folder on a disk promises beyond."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from tests import ROOT
from tests.s3_server import KEYS, FaultyProxy, make_bucket, open_uploads, s3_server
from workers.contract.errors import StoreError
from workers.store.bucket import BucketStore
from workers.store.folder import FolderStore
from workers.store.keys import checkpoint_key, epochs_key, plan_key, stop_key, study_url, trials_key, weights_key
from workers.store.listing import checkpoints, ended_packs, segments
from workers.store.memory import MemoryStore
from workers.store.open import open_store
from workers.store.protocol import exists

WEIRD = 'it\'s "a" näme\twith [brackets] * and 100% 日本 🎉'
STORES = {
    "folder": FolderStore,
    "weird folder": lambda path: FolderStore(path / WEIRD / "stu dy"),
    "memory": lambda path: MemoryStore(),
}
BUCKETS = {"bucket": 0.0, "bucket with faults": 0.05}
"""A service, and one of which 5% of all answers are 500 or 503, lost, or too late, the last two after the deed."""
KEY = "epochs/0123456789abcdef-000000-000001.parquet"
RACERS = 32


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3") / "log.txt") as address:
        make_bucket(address, "results")
        yield address


@pytest.fixture(params=[*STORES, *BUCKETS])
def store(request, tmp_path, monkeypatch):
    if request.param in STORES:
        yield STORES[request.param](tmp_path)
        return
    address, faults = request.getfixturevalue("service"), BUCKETS[request.param]
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    proxy = FaultyProxy(address, faults, seed=1)
    # Where answers are late on purpose, nobody waits for them long; where none is, a busy machine may take its time.
    yield BucketStore("results", f"{tmp_path.name}/a study", endpoint=proxy.url, timeout_s=2.0 if faults else 60.0)
    proxy.close()
    assert open_uploads(address, "results") == 0


class TestEveryStore:
    def test_reads_what_was_created(self, store):
        assert store.create(KEY, b"rows\0\xff")
        assert store.read(KEY) == b"rows\0\xff"
        assert exists(store, KEY)

    @pytest.mark.parametrize("raw", [b"", b"0123456789", bytes(range(256)) * 300], ids=len)
    def test_a_range_is_a_slice(self, store, raw):
        assert store.create(KEY, raw)
        for start, stop in ((0, 4), (3, 7), (9, 10), (8, 100), (200, 300), (-3, None), (-10, None), (-1000, None)):
            assert store.read_range(KEY, start, stop) == (raw[start:stop], len(raw))
        for start, stop in ((0, 4), (-4, None)):
            with pytest.raises(FileNotFoundError):
                store.read_range("epochs/none", start, stop)

    def test_empty_and_large_values(self, store):
        large = os.urandom(5_000_000)
        assert store.create("epochs/empty", b"")
        assert store.create("epochs/large", large)
        assert store.read("epochs/empty") == b""
        assert store.read("epochs/large") == large

    def test_a_key_once_created_is_never_replaced(self, store):
        assert store.create(KEY, b"first")
        assert not store.create(KEY, b"second")
        assert store.read(KEY) == b"first"
        assert store.list("epochs") == [KEY]

    def test_a_key_that_is_not_there(self, store):
        with pytest.raises(FileNotFoundError):
            store.read(KEY)
        assert not exists(store, KEY)
        store.delete(KEY)
        store.create("epochs/other", b"")
        with pytest.raises(FileNotFoundError):
            store.read(KEY)
        store.delete(KEY)

    def test_a_deleted_key_is_gone_and_can_be_created_again(self, store):
        store.create(KEY, b"first")
        store.delete(KEY)
        assert store.list("epochs") == []
        assert not exists(store, KEY)
        assert store.create(KEY, b"second")
        assert store.read(KEY) == b"second"

    def test_lists_one_folder_sorted(self, store):
        keys = [f"epochs/{name}" for name in ("b", "a", "c-10", "c-2", "B")]
        for key in [*keys, "epochsx/d", "trials/e"]:
            store.create(key, b"x")
        assert store.list("epochs") == sorted(keys)
        assert store.list("trials") == ["trials/e"]
        assert store.list("weights") == []

    def test_lists_the_names_of_one_beginning(self, store):
        names = ["a", "b", "b-1", "b-10", "b-2", "b.x", "bc", "c", "B-1"]
        for name in names:
            store.create(f"epochs/{name}", b"x")
        for beginning in ("b", "b-", "b-1", "b-10", "c", "d", "a-", "B", "-", "bcd"):
            expected = sorted(f"epochs/{name}" for name in names if name.startswith(beginning))
            assert store.list("epochs", beginning) == expected, beginning

    def test_one_of_many_racing_writers_wins(self, store):
        payloads = [bytes([i]) * 300_000 for i in range(RACERS)]
        barrier, won, seen, done = threading.Barrier(RACERS + 1), [], [], threading.Event()

        def write(i):
            barrier.wait()
            if store.create(KEY, payloads[i]):
                won.append(i)

        def read():
            barrier.wait()
            while not done.is_set():
                try:
                    seen.append(store.read(KEY))
                except FileNotFoundError:
                    assert not seen

        threads = [threading.Thread(target=write, args=(i,)) for i in range(RACERS)]
        reader = threading.Thread(target=read)
        for thread in [*threads, reader]:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        reader.join()
        assert len(won) == 1
        assert store.read(KEY) == payloads[won[0]]
        # A reader saw nothing or everything, and the winner alone.
        assert set(seen) <= {payloads[won[0]]}
        assert store.list("epochs") == [KEY]

    def test_keys_are_found_by_what_they_are(self, store):
        pack, other, trial = "0123456789abcdef", "fedcba9876543210", "00000000000000ff"
        keys = [
            epochs_key(other, 0, 5),
            epochs_key(pack, 11, 1_000_000),
            epochs_key(pack, 0, 10),
            trials_key(pack, 60),
            weights_key(trial, 60),
            checkpoint_key(pack, 10, "a0" * 8),
            stop_key("run"),
            plan_key(1),
        ]
        for key in [*keys, "epochs/README.txt", "epochs/0123-000000-000001.parquet", "trials/x.parquet"]:
            assert store.create(key, b"x")
        assert [segment[:3] for segment in segments(store)] == [(pack, 0, 10), (pack, 11, 1_000_000), (other, 0, 5)]
        assert [segment.key for segment in segments(store)] == [keys[2], keys[1], keys[0]]
        assert ended_packs(store) == {(pack, 60)}
        assert list(checkpoints(store)) == [(pack, 10, keys[5])]
        assert store.list("plan") == [keys[7]]


# ---- A folder ----


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_nothing_is_created_before_the_first_write(tmp_path):
    store = open_store(str(tmp_path / "results" / "study"))
    assert store.list("epochs") == []
    with pytest.raises(FileNotFoundError):
        store.read(KEY)
    assert list(tmp_path.iterdir()) == []


def test_no_temporary_file_stays(tmp_path):
    store = FolderStore(tmp_path)
    store.create(KEY, b"x")
    store.create(KEY, b"y")
    assert files(tmp_path) == [KEY]


def test_a_file_is_hidden_until_it_is_whole(tmp_path, monkeypatch):
    """Readers of Parquet folders, ours and others', take every name that does not begin with a dot."""
    store, link, seen = FolderStore(tmp_path), os.link, []

    def spy(source, target):
        seen.append((store.list("epochs"), [name.startswith(".") for name in os.listdir(tmp_path / "epochs")]))
        link(source, target)

    monkeypatch.setattr(os, "link", spy)
    assert store.create(KEY, b"rows")
    assert seen == [([], [True])]


def test_a_link_that_is_asked_for_twice_is_ours(tmp_path, monkeypatch):
    """As on NFS when the first answer is lost; tests/end_to_end/nfs_storm.py does it to a real one."""
    store, link = FolderStore(tmp_path), os.link

    def twice(source, target):
        link(source, target)
        link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", twice)
        assert store.create(KEY, b"ours")
    assert not store.create(KEY, b"another's")
    assert store.read(KEY) == b"ours"
    assert files(tmp_path) == [KEY]


def test_hidden_names_are_not_listed(tmp_path):
    store = FolderStore(tmp_path)
    store.create(KEY, b"x")
    (tmp_path / "epochs" / ".0123456789abcdef-000002-000003.parquet.aa").write_bytes(b"half")
    assert store.list("epochs") == [KEY]
    assert [segment.key for segment in segments(store)] == [KEY]


def fail_with(code):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("call", ["fsync", "link"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
def test_a_failing_disk_leaves_nothing_readable(tmp_path, monkeypatch, call, code):
    store = FolderStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail_with(code))
        with pytest.raises(OSError, match=os.strerror(code)):
            store.create(KEY, b"rows")
    assert store.list("epochs") == []
    assert not exists(store, KEY)
    assert files(tmp_path) == []
    assert store.create(KEY, b"rows")


BREAKS_OFF = """
import resource, signal, sys
from workers.store.open import FolderStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
store = FolderStore(sys.argv[1])
try:
    store.create("epochs/large", bytes(100_000))
except OSError as error:
    print(error.strerror, store.list("epochs"), store.create("epochs/small", bytes(1000)))
"""


def test_a_write_that_breaks_off_leaves_nothing_readable(tmp_path):
    # In a process of its own: the limit would hold for pytest's log as well.
    command = [sys.executable, "-c", BREAKS_OFF, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "File too large [] True\n"
    assert files(tmp_path) == ["epochs/small"]


WRITER = """
import hashlib, itertools, sys
from workers.store.open import FolderStore
store = FolderStore(sys.argv[1])
for i in itertools.count():
    body = bytes([i % 256]) * 3_000_000
    store.create(f"epochs/{i:06d}", hashlib.sha256(body).digest() + body)
    print(i, flush=True)
"""


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_killed_writer_leaves_whole_keys_only(tmp_path, after):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(after):
        assert writer.stdout.readline()
    writer.kill()
    writer.communicate(timeout=300)
    assert writer.returncode == -signal.SIGKILL
    store = FolderStore(tmp_path)
    keys = store.list("epochs")
    assert len(keys) >= after
    for key in keys:
        raw = store.read(key)
        assert raw[:32] == hashlib.sha256(raw[32:]).digest()
    assert store.create(f"epochs/{len(keys):06d}", b"the next writer goes on")


@pytest.mark.parametrize("url", ["gs://bucket", "memory://x", "s3:/x://y", "S3://bucket/prefix"])
def test_what_is_no_store_is_refused(url):
    with pytest.raises(StoreError, match=rf"run\.out: got {url}; write a folder or s3://bucket/prefix"):
        open_store(url)


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("x")
    with pytest.raises(StoreError, match=r"notes\.txt is a file; name a folder"):
        open_store(str(path))
    with pytest.raises(StoreError, match=r"notes\.txt/study cannot be created, because .*notes\.txt is a file"):
        open_store(str(path / "study"))


@pytest.mark.parametrize(
    ("out", "url"), [("results", "results/s"), ("results/", "results/s"), ("/", "/s"), ("/a//", "/a/s")]
)
def test_a_study_lies_below_out(out, url):
    assert study_url(out, "s") == url


def test_reading_the_contract_needs_no_torch():
    program = (
        "import sys, workers.data.images, workers.store.open, workers.store.bucket_address, workers.store.plan_log, workers.store.parquet, workers.contract.job, workers.store.ends\n"
        "print(sorted(name for name in ('torch', 'ray', 'torchvision', 'sklearn') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
