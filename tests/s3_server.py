"""An S3 service on loopback for tests: moto's server as a process of its own, and a proxy before it that makes faults."""

import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

KEYS = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST", "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests"}
PAGE = 7
"""Keys a page of a listing, so that every listing has several."""
BEFORE, AFTER = ("500", "503"), ("lost", "late")
"""Faults: an answer without doing anything; done, but the connection ends at once, or only after a while."""


@contextmanager
def s3_server(log: Path, host: str = "127.0.0.1", within: Sequence[str] = ()) -> Iterator[str]:
    """A service with nothing in it; yields its address. `within` comes before the command, to run it on another host."""
    with socket.socket() as free:
        free.bind(("" if within else host, 0))
        port = free.getsockname()[1]
    command = [*within, sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(PAGE)}
        )
    try:
        end = time.monotonic() + 120
        while True:
            with suppress(OSError):
                socket.create_connection((host, port), timeout=1).close()
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, "moto's server does not answer"
            time.sleep(0.1)
        yield f"http://{host}:{port}"
    finally:
        process.terminate()
        process.wait(30)


def make_bucket(address: str, bucket: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{address}/{bucket}", method="PUT"), timeout=60).close()


def open_uploads(address: str, bucket: str) -> int:
    """Multipart uploads that somebody has begun and not ended."""
    with urllib.request.urlopen(f"{address}/{bucket}?uploads", timeout=60) as answer:
        return answer.read().count(b"<Upload>")


class FaultyProxy:
    """Passes requests on to a service and spoils some: `rate` of all by chance, or those of `script`, one a request.

    A script's word is a fault, a status with its body, or `ok`. moto looks whether a key is there and then writes it, in two
    steps: conditional PUTs pass one at a time, so that the service is as atomic as S3.
    """

    def __init__(self, target: str, rate: float = 0.0, seed: int = 0, late_s: float = 3.0, host: str = "127.0.0.1") -> None:
        self.rate, self.late_s = rate, late_s
        self.script: list[str | tuple[int, str]] = []
        self.first = ""
        """What stands in the path of a PUT that is refused, whatever chance says; the first of them alone."""
        self.done: Counter[str] = Counter()
        """Requests by method, as far as the service saw them, and faults by name."""
        self.under_way: Counter[str] = Counter()
        """Requests by method that are not answered yet."""
        self._target = urlsplit(target)
        self._chance, self._lock, self._put = random.Random(seed), threading.Lock(), threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body go out in one piece; else each answer waits for the client's acknowledgement.
            wbufsize = 2**16
            disable_nagle_algorithm = True

            def log_message(self, format: str, *arguments: object) -> None:
                pass

            def handle(self) -> None:
                with suppress(ConnectionError):  # a client that was killed
                    super().handle()

            def _pass(self) -> None:
                proxy.under_way[self.command] += 1
                try:
                    proxy._pass(self)
                finally:
                    proxy.under_way[self.command] -= 1

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server((host, 0), Handler)
        self.url = f"http://{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _fault(self, method: str, path: str) -> str | tuple[int, str]:
        with self._lock:
            if method == "PUT" and self.first and self.first in path:
                self.first = ""
                return BEFORE[0]
            if self.script:
                return self.script.pop(0)
            return self._chance.choice(BEFORE + AFTER) if self._chance.random() < self.rate else "ok"

    def _pass(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self._fault(request.command, request.path)
        if fault != "ok":
            self.done[fault if isinstance(fault, str) else str(fault[0])] += 1
        if isinstance(fault, tuple) or fault in BEFORE:
            status, text = fault if isinstance(fault, tuple) else (int(fault), "<Error><Code>SlowDown</Code></Error>")
            _answer(request, status, [("Content-Length", str(len(text)))], text.encode())
            return
        is_conditional = request.command == "PUT" and "If-None-Match" in request.headers
        with self._put if is_conditional else nullcontext():
            status, headers, answer = self._forward(request, body)
        self.done[request.command] += 1
        if fault in AFTER:
            time.sleep(self.late_s if fault == "late" else 0)
            request.close_connection = True
            return
        _answer(request, status, headers, answer)

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = HTTPConnection(self._target.hostname, self._target.port, timeout=120)
        try:
            connection.request(request.command, request.path, body, dict(request.headers))
            answer = connection.getresponse()
            kept = [
                (name, value) for name, value in answer.getheaders() if name.lower() not in ("connection", "server", "date")
            ]
            return answer.status, kept, answer.read()
        finally:
            connection.close()


def _answer(request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    request.send_response(status)
    for name, value in headers:
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
