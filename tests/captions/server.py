"""A service with OpenAI's API on this machine, which answers and fails as it is told."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

Reply = tuple[int, dict[str, str], bytes]


def content(text: Any, **more: Any) -> dict[str, Any]:
    """Return the JSON of an answer."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    usage = {"prompt_tokens": 100, "completion_tokens": 7}
    return {"model": "tiny-2026", "choices": [choice], "usage": usage}


def answer(text: Any, **more: Any) -> Reply:
    return 200, {}, json.dumps(content(text, **more)).encode()


def failure(status: int, message: str = "no", **more: Any) -> Reply:
    error = {"error": {"message": message, **more}}
    return status, {}, json.dumps(error).encode()


@dataclass
class Server:
    """What the service got, and what it is to reply.

    Attributes:
        script: A reply, or a function of the body that returns one, for each of the first requests;
            then each is answered with the width of its image and its seed. None cuts the
            connection.
        delay: Seconds that an answer takes.
        bodies, headers, times: Of the requests.
        most: Largest number of requests that were in work at the same time.
    """

    url: str = ""
    script: list[Any] = field(default_factory=list)
    delay: float = 0.0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    most: int = 0
    running: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def reply(self, body: dict[str, Any], headers: dict[str, str]) -> Reply | None:
        with self.lock:
            self.bodies.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            self.running += 1
            self.most = max(self.most, self.running)
            chosen = self.script.pop(0) if self.script else usual
        time.sleep(self.delay)
        with self.lock:
            self.running -= 1
        return chosen(body) if isinstance(chosen, Callable) else chosen


def image_of(body: dict[str, Any]) -> Image.Image:
    """Return the image of a request."""
    url = body["messages"][0]["content"][1]["image_url"]["url"]
    return Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))


def usual(body: dict[str, Any]) -> Reply:
    return answer(f" an image of\n{image_of(body).width} px, seed {body.get('seed')}")


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(size))
            assert self.path == "/v1/chat/completions"
            reply = server.reply(body, dict(self.headers))
            if reply is None:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")
                self.close_connection = True
                return
            status, headers, data = reply
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

        def handle_error(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.handle_error = lambda *args: None
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
