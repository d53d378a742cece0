"""A bucket of an S3 service as a store: create-only writes by conditional PUT, with retries.

A PUT whose response is lost (a time-out, a 500, a broken connection) may still have been carried out. Before it is sent
again, the key is therefore read. If it holds exactly our bytes, the write has succeeded; if another writer wrote the same
bytes, both may believe that they came first, which is harmless because both continue from the same bytes. If it holds other
bytes, another writer came first. Only if the key does not exist is the PUT sent again, still with its condition. Every
object is written by one PUT: nothing is renamed, and no multipart upload can stay open.
"""

import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from workers.contract.errors import StoreError

if TYPE_CHECKING:
    from obstore.auth.boto3 import Boto3CredentialProvider

TRIES = 9
"""How often a request is sent before it fails; the pauses between these attempts take 45 s in total."""

FIRST_TRIES = 5
"""The same for a service that has not answered yet, so that a wrong address is reported after 3 s."""

PAUSE_S, LONGEST_PAUSE_S = 0.2, 20.0

TIMEOUT_S = 30.0
"""Time-out of a request in seconds; doubled when the request is repeated, and for larger objects (see _client)."""

KEYS_AT_ONCE = 50
"""Keys per part of a listing; the parts before a failure are kept. A page of the service has up to a thousand keys."""

LARGEST_BYTES = 5 * 2**30
"""The largest object that S3 accepts in one PUT."""

_PASSING = (408, 409, 425, 429)
"""HTTP status codes below 500 after which the same request may succeed."""

_RIGHTS = (
    "the credentials need s3:ListBucket for the bucket, "
    "and s3:GetObject, s3:PutObject and s3:DeleteObject for the objects in it"
)

T = TypeVar("T")


class BucketError(OSError, StoreError):
    """A bucket cannot be read or written; the message names the address, the reason and the remedy.

    It is an OSError so that it is handled like a failing disk.
    """

    def __init__(self, url: str, reason: str) -> None:
        """Store the address that could not be read or written, and the reason."""
        super().__init__(errno.EIO, reason, url)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class BucketStore:
    """A Store of the keys below a prefix of a bucket; `endpoint` None means AWS, `tries` and `timeout_s` are for tests."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint: str | None = None,
        region: str = "us-east-1",
        credentials: "Boto3CredentialProvider | None" = None,
        tries: int = TRIES,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Remember the arguments; the first request is sent at the first use."""
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket, self._prefix, self._endpoint, self._region = bucket, prefix, endpoint, region
        self._credentials, self._tries, self._timeout_s = credentials, tries, timeout_s
        self._clients: dict[int, S3Store] = {}
        self._has_answered = False

    def create(self, key: str, raw: bytes) -> bool:
        """See Store.create. Raises BucketError: the service does not answer, or refuses; the whole key may still exist."""
        if len(raw) > LARGEST_BYTES:
            raise self._error(
                key,
                f"has {len(raw) / 2**30:.1f} GiB, but S3 accepts at most 5 GiB per object; "
                "make the packs smaller with --set run.packing=none",
            )
        is_uncertain, fault = False, "another writer is writing the same key"
        for attempt in self._attempts():
            try:
                # Never in parts: the parts of a killed writer would stay in the bucket, invisible but charged for.
                self._client(attempt, len(raw)).put(key, raw, mode="create", use_multipart=False)
                return True
            except AlreadyExistsError:
                self._has_answered = True
            except (BaseError, OSError) as error:
                is_uncertain, fault = True, self._passing_fault(error, key)
            try:
                stored = self.read(key)
            except FileNotFoundError:
                continue  # also after a 409, which S3 returns while another PUT of the same key is in progress
            # If no response was lost before, equal bytes were written by somebody else.
            return is_uncertain and stored == raw
        raise self._gave_up(key, fault)

    def read(self, key: str) -> bytes:
        """See Store.read. Raises BucketError: the service does not answer, or refuses."""
        return self._got(key, lambda client: bytes(client.get(key).bytes()))

    def read_range(self, key: str, start: int, stop: int | None) -> tuple[bytes, int]:
        """See Store.read_range. Raises BucketError: the service does not answer, or refuses."""

        def ask(client: S3Store) -> tuple[bytes, int]:
            try:
                found = client.get(key, options={"range": {"suffix": -start} if stop is None else (start, stop)})
                return bytes(found.bytes()), found.meta["size"]
            except BaseError as error:
                # The range contains no byte (as for every empty object), or the service does not support ranges.
                if not any(words in str(error) for words in ("status code: 416", "non-partial response")):
                    raise
            raw = bytes(client.get(key).bytes())
            return raw[start:stop], len(raw)

        return self._got(key, ask)

    def _got(self, key: str, ask: Callable[[S3Store], T]) -> T:
        """Return the answer to a request for a key that should exist. Raises FileNotFoundError: there is no such key."""
        try:
            return self._asked(key, ask)
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._no_bucket() from None
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.url}/{key}") from None

    def list(self, folder: str, beginning: str = "") -> list[str]:
        """See Store.list. Raises BucketError: the service does not answer, or refuses."""
        return sorted(self.stored(folder, beginning))

    def stored(self, folder: str, beginning: str = "") -> dict[str, tuple[int, float]]:
        """Return the size in bytes and the time (seconds since 1970) of each key that `list` returns. Raises as `list`."""
        found: dict[str, tuple[int, float]] = {}
        wanted = f"{folder}/{beginning}"
        # Keys are listed in order, starting after this one; pages before and after the wanted keys are not requested.
        start = wanted[:-1] if beginning else None

        def go_on(client: S3Store) -> None:
            # Continue after the last key seen, so that a page that fails does not lose the pages before it.
            for some in client.list(f"{folder}/", offset=max(found, default=start), chunk_size=KEYS_AT_ONCE):
                facts = {str(item["path"]): (item["size"], item["last_modified"].timestamp()) for item in some}
                found.update({key: fact for key, fact in facts.items() if key.startswith(wanted)})
                if beginning and not max(facts).startswith(wanted) and max(facts) > wanted:
                    return

        while True:
            before = len(found)
            try:
                self._asked(f"{folder}/", go_on)
                break
            except BucketError:
                if before == len(found):
                    raise
        return {key: facts for key, facts in found.items() if "/" not in key.removeprefix(f"{folder}/")}

    def delete(self, key: str) -> None:
        """See Store.delete. Raises BucketError: the service does not answer, or refuses."""
        try:
            self._asked(key, lambda client: client.delete(key))
        except FileNotFoundError:
            return

    def _asked(self, key: str, ask: Callable[[S3Store], T]) -> T:
        """Return the answer to a request that can safely be repeated."""
        fault = ""
        for attempt in self._attempts():
            try:
                answer = ask(self._client(attempt))
            except FileNotFoundError:
                self._has_answered = True
                raise
            except (BaseError, OSError) as error:
                fault = self._passing_fault(error, key)
            else:
                self._has_answered = True
                return answer
        raise self._gave_up(key, fault)

    def _attempts(self) -> Iterator[int]:
        """Yield 0, 1, 2 ... with growing pauses of random length, so that many writers do not all retry at the same time."""
        pause, attempt = PAUSE_S, 0
        while True:
            yield attempt
            attempt += 1
            if attempt >= self._limit():
                return
            time.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _limit(self) -> int:
        return self._tries if self._has_answered else min(self._tries, FIRST_TRIES)

    def _client(self, attempt: int, size: int = 0) -> S3Store:
        doublings = min(attempt, 1) + min((size // 30_000_000).bit_length(), 6)
        if doublings not in self._clients:
            self._clients[doublings] = S3Store(
                self._bucket,
                prefix=self._prefix or None,
                region=self._region,
                client_options={
                    "allow_http": (self._endpoint or "").startswith("http://"),
                    "timeout": timedelta(seconds=self._timeout_s * 2**doublings),
                },
                # obstore would repeat a PUT and then take our own object for somebody else's.
                retry_config={"max_retries": 0},
                config={"endpoint": self._endpoint} if self._endpoint else None,
                credential_provider=self._credentials,
            )
        return self._clients[doublings]

    def _passing_fault(self, error: Exception, key: str) -> str:
        """Return a short description of a fault that may have passed at the next attempt.

        Raises:
            BucketError: repeating the request would not help.
        """
        # The service's message can contain key ids and signatures. Only its code and status are used, and `from None` keeps
        # the rest out of tracebacks.
        text = str(error).partition("Debug source")[0]
        found, named = re.search(r"status code: (\d{3})", text), re.search(r"<Code>(\w+)</Code>", text)
        status, code = int(found[1]) if found else 0, named[1] if named else ""
        if "169.254.169.254" in text:
            return (
                "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, "
                "or run on a machine whose instance profile provides them"
            )
        if code == "NoSuchBucket" or isinstance(error, FileNotFoundError):
            raise self._no_bucket() from None
        if "without LOCATION" in text or status == 301:
            raise self._error("", "the bucket is in another region; set AWS_REGION to the bucket's region") from None
        if status in (401, 403):
            raise self._error(key, f"access denied ({code or status}); {_RIGHTS}") from None
        if 400 <= status < 500 and status not in _PASSING and code != "RequestTimeout":
            raise self._error(
                key, f"the service refused the request ({status} {code}); use a service that supports S3's conditional PUT"
            ) from None
        self._has_answered |= bool(status)
        return f"{status} {code}".strip() if status else "no answer"

    def _gave_up(self, key: str, fault: str) -> BucketError:
        where = f" at {self._endpoint}" if self._endpoint else ""
        return self._error(key, f"gave up after {self._limit()} attempts{where} ({fault})")

    def _no_bucket(self) -> BucketError:
        return self._error("", f"there is no bucket {self._bucket}; create it, or name another one in run.out")

    def _error(self, key: str, reason: str) -> BucketError:
        return BucketError(f"{self.url}/{key}".rstrip("/"), reason)
