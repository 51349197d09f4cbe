"""A stand-in of the hub: what `huggingface_hub` asks of it to make a dataset and to fill it."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import yaml

LARGE = (".png", ".tar", ".parquet")


@dataclass
class Dataset:
    """A dataset and its files at the head of main."""

    private: bool
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b""})


@dataclass
class Hub:
    """What the server knows and was asked.

    Attributes:
        url: Its address.
        token: The one that it knows; it belongs to "me", of the organisation "lab".
        datasets: Name -> dataset.
        stored: SHA-256 -> content of large files, committed or not.
        asked: "METHOD /path" of each request.
        failing: [part of a request, status, times]: answered so in place of the work.
    """

    token: str
    url: str = ""
    datasets: dict[str, Dataset] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failing: list[list[Any]] = field(default_factory=list)

    def num_asked(self, part: str) -> int:
        """Return how many requests hold a text."""
        return sum(part in request for request in self.asked)

    def answer(self, request: str, body: bytes) -> tuple[int, Any]:
        """Return status and JSON of a request."""
        for rule in self.failing:
            if rule[0] in request and rule[2] > 0:
                rule[2] -= 1
                return rule[1], {"error": "injected"}
        method, path = request.split(" ", 1)
        if path == "/api/whoami-v2":
            return 200, {"name": "me", "type": "user", "orgs": [{"name": "lab"}]}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.startswith("/upload/"):
            oid = path.rpartition("/")[2]
            assert hashlib.sha256(body).hexdigest() == oid
            self.stored[oid] = body
            return 200, {}
        if ".git/info/lfs/objects/batch" in path:
            return 200, self._batch(json.loads(body))
        owner, name, *rest = path.removeprefix("/api/datasets/").split("/")
        if (dataset := self.datasets.get(f"{owner}/{name}")) is None:
            return 404, {"error": "Repository not found"}
        if not rest or rest[0] == "revision":
            return 200, self._info(f"{owner}/{name}", dataset)
        if rest[0] == "tree":
            return 200, [
                {"type": "file", "path": path, "size": len(content), "oid": _oid(path, content)}
                for path, content in dataset.files.items()
            ]
        if rest[0] == "preupload":
            return 200, {"files": [_mode(file, dataset) for file in json.loads(body)["files"]]}
        assert rest[0] == "commit" and method == "POST", request
        for line in body.splitlines():
            self._apply(json.loads(line), dataset)
        url = f"{self.url}/datasets/{owner}/{name}/commit/{'1' * 40}"
        return 200, {"commitUrl": url, "commitOid": "1" * 40, "success": True}

    def _create(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        name = f"{wanted['organization']}/{wanted['name']}"
        url = f"{self.url}/datasets/{name}"
        if name in self.datasets:
            return 409, {"error": "You already created this dataset repo", "url": url}
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.datasets[name] = Dataset(bool(private))
        return 200, {"url": url}

    def _batch(self, wanted: dict[str, Any]) -> dict[str, Any]:
        objects = []
        for each in wanted["objects"]:
            upload = {"upload": {"href": f"{self.url}/upload/{each['oid']}", "header": {}}}
            objects.append(each if each["oid"] in self.stored else each | {"actions": upload})
        return {"transfer": "basic", "objects": objects}

    def _apply(self, operation: dict[str, Any], dataset: Dataset) -> None:
        value = operation["value"]
        if operation["key"] == "file":
            dataset.files[value["path"]] = base64.b64decode(value["content"])
        elif operation["key"] == "lfsFile":
            dataset.files[value["path"]] = self.stored[value["oid"]]
        elif operation["key"] == "deletedFile":
            del dataset.files[value["path"]]
        else:
            assert operation["key"] == "header"

    @staticmethod
    def _info(name: str, dataset: Dataset) -> dict[str, Any]:
        card = dataset.files.get("README.md", b"").decode().split("---\n")
        return {
            "id": name,
            "sha": "1" * 40,
            "private": dataset.private,
            "siblings": [{"rfilename": path} for path in dataset.files],
            "cardData": yaml.safe_load(card[1]) if len(card) > 1 else None,
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }


def _oid(path: str, content: bytes) -> str:
    """Return by what the hub knows a file: SHA-256 of a large one, git's hash of another."""
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _mode(file: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    path = file["path"]
    known = {"oid": _oid(path, dataset.files[path])} if path in dataset.files else {}
    mode = "lfs" if path.endswith(LARGE) else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False, **known}


@contextmanager
def serving(hub: Hub) -> Iterator[None]:
    """Serve the hub on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            request = f"{self.command} {urlsplit(self.path).path}"
            hub.asked.append(request)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = hub.answer(request, body)
            given = self.headers.get("Authorization")
            if given != f"Bearer {hub.token}" and "/upload/" not in request:
                status, answer = 401, {"error": "Invalid username or password."}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if status >= 400:
                code = {"X-Error-Code": "RepoNotFound"} if status == 404 else {}
                for name, value in {"X-Error-Message": answer["error"], **code}.items():
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
