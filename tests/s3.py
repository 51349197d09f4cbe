"""A server that speaks S3, on this machine, and that fails when a test says so."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

ANSWERS = {"403": "AccessDenied", "500": "InternalError", "503": "SlowDown"}


@dataclass
class Fault:
    """What goes wrong with some requests.

    Attributes:
        kind: "403", "500" and "503" answer so and do nothing; "cut" ends the connection in the
            middle of an upload; "dropped" ends it before, and "lost" after the request was carried
            out.
        method: Of the requests.
        part: Of their path and query.
        times: How many of them fail.
    """

    kind: str
    method: str
    part: str
    times: int = 1


class S3Server:
    """The server.

    Attributes:
        url: Its address.
        faults: What goes wrong from now on.
        failed: Kinds of the faults that happened.
        requests: Method and path of each request.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import create_backend_app

        self.faults: list[Fault] = []
        self.failed: list[str] = []
        self.requests: list[tuple[str, str]] = []
        app = create_backend_app("s3")
        handler = type("Handler", (_Handler,), {"s3": self})
        self._server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()

    def next_fault(self, method: str, path: str) -> str | None:
        """Return what goes wrong with a request."""
        for fault in self.faults:
            if fault.times and fault.method == method and fault.part in path:
                fault.times -= 1
                self.failed.append(fault.kind)
                return fault.kind
        return None

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        """Let requests fail."""
        self.faults, self.failed = list(faults), []
        try:
            yield
        finally:
            self.faults = []


class _Handler(WSGIRequestHandler):
    """Carries out one request after the other of a connection."""

    protocol_version = "HTTP/1.1"
    s3: S3Server

    def run_wsgi(self) -> None:
        self.s3.requests.append((self.command, self.path))
        kind = self.s3.next_fault(self.command, self.path)
        if kind in ANSWERS:
            self._read_body()
            body = f"<Error><Code>{ANSWERS[kind]}</Code><Message>No.</Message></Error>".encode()
            head = f"HTTP/1.1 {kind} No\r\nContent-Type: application/xml\r\n"
            self.wfile.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        elif kind in ("cut", "dropped"):
            self.rfile.read(20 if kind == "cut" else 0)
            self._hang_up()
        elif kind == "lost":
            answer, self.wfile = self.wfile, io.BytesIO()  # type: ignore[assignment]
            super().run_wsgi()
            self.wfile = answer
            self._hang_up()
        else:
            super().run_wsgi()

    def _read_body(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            while self.rfile.readline().strip():  # the checksum behind it
                pass

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def log(self, *args: Any) -> None:
        """Say nothing."""


def environment(url: str) -> dict[str, str]:
    """Return the environment variables with which a process finds the server."""
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def make_bucket(url: str, name: str) -> None:
    """Make a bucket, with the credentials of the environment."""
    from pyarrow.fs import S3FileSystem

    S3FileSystem(endpoint_override=url, allow_bucket_creation=True).create_dir(name)
