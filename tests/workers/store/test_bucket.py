"""A bucket whose service answers late, wrongly or not at all: what is created, what is said, and how often it is tried."""

import hashlib
import signal
import subprocess
import sys
import threading

import pytest

import workers.store.bucket
from tests import ROOT
from tests.s3_server import KEYS, PAGE, FaultyProxy, make_bucket, open_uploads, s3_server
from workers.contract.errors import StoreError
from workers.contract.failure import failure_of
from workers.store.bucket import FIRST_TRIES, LARGEST_BYTES, TRIES, BucketError, BucketStore
from workers.store.bucket_address import open_bucket
from workers.store.keys import study_url
from workers.store.open import open_store

KEY = "epochs/0123456789abcdef-000000-000001.parquet"
SECRET = (
    "<Error><Code>AccessDenied</Code><AWSAccessKeyId>AKIASECRET</AWSAccessKeyId><StringToSign>xyz</StringToSign></Error>"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3") / "log.txt") as address:
        make_bucket(address, "results")
        yield address


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Nothing of the machine's own AWS configuration."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def proxy(address):
    proxy = FaultyProxy(address)
    yield proxy
    proxy.close()


@pytest.fixture
def pauses(monkeypatch):
    """No waiting between tries; what would have been waited."""
    waited = []
    monkeypatch.setattr(workers.store.bucket.time, "sleep", waited.append)
    return waited


def bucket(proxy, prefix, timeout_s=10.0):
    return BucketStore("results", prefix, endpoint=proxy.url, timeout_s=timeout_s)


# ---- A PUT whose answer does not come ----


@pytest.mark.parametrize("fault", ["lost", "late", "500", "503"])
def test_a_put_whose_answer_is_lost_is_read_back(proxy, tmp_path, fault):
    store = bucket(proxy, tmp_path.name, timeout_s=1.0 if fault == "late" else 10.0)
    proxy.script = [fault]
    assert store.create(KEY, b"rows")
    assert proxy.done["PUT"] == 1, "what had been stored was sent again"
    assert store.read(KEY) == b"rows"


@pytest.mark.parametrize("fault", ["lost", "503"])
def test_whose_bytes_are_stored_says_who_was_first(proxy, tmp_path, fault):
    store, other = bucket(proxy, tmp_path.name), bucket(proxy, tmp_path.name)
    assert other.create(KEY, b"theirs")
    proxy.script = [fault]
    assert not store.create(KEY, b"ours")
    assert store.read(KEY) == b"theirs"
    # Equal bytes: without a lost answer they are known to be another's; with one nobody can tell, and nobody needs to.
    assert not store.create(KEY, b"theirs")
    proxy.script = [fault]
    assert store.create(KEY, b"theirs")


def test_a_conflict_with_another_put_is_tried_again(proxy, tmp_path, pauses):
    """S3 answers 409 while another conditional PUT is under way, which may yet fail."""
    proxy.script = [(409, "<Error><Code>ConditionalRequestConflict</Code></Error>")]
    store = bucket(proxy, tmp_path.name)
    assert store.create(KEY, b"rows")
    assert store.read(KEY) == b"rows"


class Blind(BucketStore):
    """Sends a PUT again without having read the key, as a client's own retries do."""

    mode = "create"

    def create(self, key, raw):
        for attempt in self._attempts():
            try:
                self._client(attempt).put(key, raw, mode=self.mode if attempt else "create", use_multipart=False)
                return True
            except workers.store.bucket.AlreadyExistsError:
                return False
            except (workers.store.bucket.BaseError, OSError):
                continue
        return False


class Overwriting(Blind):
    """Retries without the condition."""

    mode = "overwrite"


def races(proxy, prefix, kind, pauses, rounds=12, writers=4):
    """For every round the winners, and whose bytes are stored."""
    proxy.rate = 0.4
    proxy.late_s = 0.0
    outcome = []
    stores = [kind("results", prefix, endpoint=proxy.url) for _ in range(writers)]
    for store in stores:
        store._has_answered = True
    for i in range(rounds):
        barrier, won = threading.Barrier(writers), []

        def write(j, barrier=barrier, won=won, key=f"epochs/{i}"):
            barrier.wait()
            if stores[j].create(key, bytes([j]) * 10_000):
                won.append(j)

        threads = [threading.Thread(target=write, args=(j,)) for j in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        outcome.append((sorted(won), stores[0].read(f"epochs/{i}")[0]))
    return outcome


def test_with_two_of_five_answers_spoilt_exactly_one_writer_wins(proxy, tmp_path, pauses):
    for won, stored in races(proxy, tmp_path.name, BucketStore, pauses):
        assert won == [stored]
    assert min(proxy.done[fault] for fault in ("500", "503", "lost", "late")) > 0


def test_a_store_that_does_not_read_back_loses_its_own_commit(proxy, tmp_path, pauses):
    assert [] in [won for won, _ in races(proxy, tmp_path.name, Blind, pauses)]


def test_a_store_that_retries_without_the_condition_lets_two_win(proxy, tmp_path, pauses):
    assert max(len(won) for won, _ in races(proxy, tmp_path.name, Overwriting, pauses)) > 1


WRITER = """
import hashlib, itertools, sys
from workers.store.bucket import BucketStore
store = BucketStore("results", sys.argv[1], endpoint=sys.argv[2])
for i in itertools.count():
    body = bytes([i % 256]) * 12_000_000
    store.create(f"epochs/{i:06d}", hashlib.sha256(body).digest() + body)
    print(i, flush=True)
"""


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_writer_leaves_whole_keys_and_no_open_upload(proxy, address, tmp_path, after):
    command = [sys.executable, "-c", WRITER, tmp_path.name, proxy.url]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert writer.stdout is not None
    for _ in range(after):
        assert writer.stdout.readline()
    writer.kill()
    writer.communicate(timeout=300)
    assert writer.returncode == -signal.SIGKILL
    store = bucket(proxy, tmp_path.name)
    keys = store.list("epochs")
    assert len(keys) >= after
    for key in keys:
        raw = store.read(key)
        assert raw[:32] == hashlib.sha256(raw[32:]).digest()
    assert open_uploads(address, "results") == 0


def test_an_upload_in_parts_would_be_seen(address):
    """The negative control of `0 open uploads`."""
    from obstore.store import S3Store

    options = {"endpoint": address, "region": "us-east-1", "client_options": {"allow_http": True}}
    writer = __import__("obstore").open_writer(S3Store("results", **options), "half", buffer_size=5 * 2**20)
    writer.write(bytes(12 * 2**20))
    writer.flush()
    assert open_uploads(address, "results") == 1
    writer.close()
    assert open_uploads(address, "results") == 0


# ---- Lists and reads ----


def test_a_list_of_many_pages_is_whole_and_goes_on_where_one_fails(proxy, tmp_path, pauses, monkeypatch):
    monkeypatch.setattr(workers.store.bucket, "KEYS_AT_ONCE", PAGE)
    store = bucket(proxy, tmp_path.name)
    keys = [f"epochs/{i:03d}" for i in range(30)]
    for key in keys:
        store.create(key, b"x")
    before = proxy.done["GET"]
    assert store.list("epochs") == keys
    assert proxy.done["GET"] - before == 5, "the pages of the service are small"
    before = proxy.done["GET"]
    proxy.script = ["ok", "ok", "503", "ok", "500"]
    assert store.list("epochs") == keys
    assert proxy.done["GET"] - before == 5, "no page is asked for again"
    # A fault after every page, and more of them than there are tries.
    more = [f"epochs/{i:03d}" for i in range(30, 100)]
    for key in more:
        store.create(key, b"x")
    keys += more
    proxy.script = ["ok", "503"] * 20
    assert store.list("epochs") == keys


def test_a_list_of_one_beginning_asks_for_its_own_pages_alone(proxy, tmp_path, monkeypatch):
    monkeypatch.setattr(workers.store.bucket, "KEYS_AT_ONCE", PAGE)
    store = bucket(proxy, tmp_path.name)
    packs = sorted(hashlib.sha256(bytes([i])).hexdigest()[:16] for i in range(20))
    keys = [f"epochs/{pack}-{i}" for pack in packs for i in range(5)]
    for key in keys:
        store.create(key, b"x")
    for pack in packs:
        before = proxy.done["GET"]
        assert store.list("epochs", pack) == [key for key in keys if key.startswith(f"epochs/{pack}")]
        assert proxy.done["GET"] - before <= 3, "of the fifteen pages that there are"


def test_a_list_shows_its_own_folder_alone(proxy, tmp_path):
    store, longer = bucket(proxy, tmp_path.name), bucket(proxy, f"{tmp_path.name}2")
    store.create("epochs/a", b"x")
    longer.create("epochs/b", b"x")
    bucket(proxy, f"{tmp_path.name}/epochs").create("deeper/c", b"x")
    assert store.list("epochs") == ["epochs/a"]


def test_reads_and_deletes_are_tried_again(proxy, tmp_path, pauses):
    store = bucket(proxy, tmp_path.name)
    store.create(KEY, b"rows")
    proxy.script = ["503", "lost"]
    assert store.read(KEY) == b"rows"
    proxy.script = ["lost", "500"]
    store.delete(KEY)
    assert store.list("epochs") == []


# ---- What is said, and when ----


@pytest.mark.parametrize("act", ["create", "read", "list", "delete"])
def test_gives_up_after_a_stated_number_of_tries(proxy, tmp_path, pauses, act):
    store = bucket(proxy, tmp_path.name)
    store.create("epochs/other", b"x")
    proxy.script = [(503, "<Error><Code>SlowDown</Code></Error>")] * 100
    with pytest.raises(BucketError, match=rf"gave up after {TRIES} attempts at {proxy.url} \(503 SlowDown\)") as raised:
        getattr(store, act)(*((KEY, b"rows") if act == "create" else (KEY,)))
    assert 100 - len(proxy.script) == TRIES + (act == "create")
    assert failure_of(raised.value).kind == "store", "as of a disk that fails: the same command goes on"
    assert isinstance(raised.value, StoreError), "a sentence, not a traceback"
    assert len(pauses) >= TRIES - 1
    assert 15 < sum(pauses) < 75


def test_a_service_that_is_not_there_is_said_sooner(pauses):
    store = BucketStore("results", "p", endpoint="http://127.0.0.1:1")
    with pytest.raises(BucketError, match=rf"gave up after {FIRST_TRIES} attempts at http://127\.0\.0\.1:1 \(no answer\)"):
        store.list("plan")
    assert sum(pauses) < 6


@pytest.mark.parametrize("act", ["create", "read", "list"])
def test_a_bucket_that_is_not_there(proxy, act):
    store = BucketStore("nowhere", "p", endpoint=proxy.url)
    with pytest.raises(BucketError, match=r"s3://nowhere/p: there is no bucket nowhere; create it"):
        getattr(store, act)(*((KEY, b"rows") if act == "create" else (KEY,)))


@pytest.mark.parametrize("act", ["create", "read", "list", "delete"])
def test_what_is_denied_is_said_at_once_and_tells_no_secret(proxy, tmp_path, pauses, act):
    proxy.script = [(403, SECRET)] * 2
    with pytest.raises(BucketError, match=r"access denied \(AccessDenied\); the credentials need s3:ListBucket") as raised:
        getattr(bucket(proxy, tmp_path.name), act)(*((KEY, b"rows") if act == "create" else (KEY,)))
    assert len(proxy.script) == 1
    failure = failure_of(raised.value)
    for text in (str(raised.value), failure.sentence, failure.details):
        assert not any(secret in text for secret in ("AKIA", "xyz", *KEYS.values()))


def test_another_region_and_a_service_without_conditional_puts(proxy, tmp_path, pauses):
    proxy.script = [(301, "<Error><Code>PermanentRedirect</Code></Error>")]
    with pytest.raises(BucketError, match="is in another region; set AWS_REGION"):
        bucket(proxy, tmp_path.name).list("plan")
    proxy.script = [(400, "<Error><Code>NotImplemented</Code></Error>")]
    with pytest.raises(
        BucketError, match=r"refused the request \(400 NotImplemented\); use a service that supports S3's conditional PUT"
    ):
        bucket(proxy, tmp_path.name).create(KEY, b"rows")


def test_more_than_one_put_takes_is_refused_before_it_is_sent(proxy, tmp_path):
    class Huge(bytes):
        def __len__(self):
            return LARGEST_BYTES + 1

    with pytest.raises(
        BucketError, match=r"has 5\.0 GiB, but S3 accepts at most 5 GiB per object; .* --set run\.packing=none"
    ):
        bucket(proxy, tmp_path.name).create(KEY, Huge())
    assert not proxy.done


# ---- From the environment ----


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_endpoint_and_keys_come_from_the_environment(proxy, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, proxy.url)
    store = open_store(f"s3://results/{tmp_path.name}/study/")
    assert store.url == f"s3://results/{tmp_path.name}/study"
    assert store.create(KEY, b"rows")
    assert bucket(proxy, f"{tmp_path.name}/study").read(KEY) == b"rows"


def test_keys_come_from_a_profile(proxy, tmp_path, monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    file.write_text("[mine]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = s\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert open_bucket("s3://results/p").list("plan") == []
    monkeypatch.setenv("AWS_PROFILE", "other")
    with pytest.raises(StoreError, match=r"AWS_PROFILE: profile other has no credentials"):
        open_bucket("s3://results/p")


def test_without_boto3_a_profile_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(StoreError, match=r'needs boto3; run pip install "factorial-iwae\[s3\]"'):
        open_bucket("s3://results/p")


@pytest.mark.parametrize("out", ["s3://", "s3:/results", "s3:results"])
def test_an_address_without_its_bucket_is_no_folder(out):
    """A study named m below it must not land in a local folder `s3:`."""
    with pytest.raises(StoreError, match=r"s3://bucket/prefix"):
        open_store(study_url(out, "m"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://", "the name of the bucket is missing"),
        ("s3:///prefix", "the name of the bucket is missing"),
        ("s3://Big_Bucket/p", "Big_Bucket is not a valid bucket name"),
        ("s3://results//p", "the prefix may contain only letters"),
        ("s3://results/../p", "the prefix may contain only letters"),
        ("s3://results/p?x=1", "the prefix may contain only letters"),
    ],
)
def test_an_address_that_cannot_be_is_refused(url, words):
    with pytest.raises(StoreError, match=words):
        open_store(url)


def test_a_password_in_an_endpoint_is_refused_and_not_shown(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:secret@127.0.0.1:9000")
    with pytest.raises(StoreError, match="without user name or password") as error:
        open_store("s3://results/p")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9000", "htt:/x", "http://", "http://host:port", "ftp://host"])
def test_an_endpoint_that_cannot_be_is_refused(monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StoreError, match=r"AWS_ENDPOINT_URL: got .*; write an address like http://127\.0\.0\.1:9000"):
        open_store("s3://results/p")
