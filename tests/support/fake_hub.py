"""A local server with the part of the Hugging Face Hub's API that huggingface_hub calls to read and write models.

with FakeHub() as hub:
    hub.add("org/name", {"model.safetensors": b"…"})
    environment["HF_ENDPOINT"] = hub.endpoint
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".jpg")
"""Suffixes of files that are stored with Git LFS."""


@dataclass
class Repository:
    """A repository, whose commits are complete copies of its files.

    Attributes:
        private: Whether it is private.
        gated: Whether nobody has access.
        commits: Files of each commit by its id, the newest one last.
        messages: Messages of the commits.
    """

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: Mapping[str, bytes], message: str) -> str:
        """Add a commit that changes files and keeps the others."""
        sha = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[sha] = self.files | dict(files)
        self.messages.append(message)
        return sha

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return next(reversed(self.commits.values()), {})

    def resolve(self, revision: str) -> str | None:
        return self.head if revision == "main" else revision if revision in self.commits else None


class FakeHub:
    """Context manager that runs the server in a thread.

    Attributes:
        repositories: Repositories by ``ORG/NAME``.
        requests: Method and path of each request.
        fail: Status that all requests to commit return, 0 for none.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.uploads: dict[str, bytes] = {}
        self.fail = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, name: str, files: Mapping[str, bytes], private: bool = False, gated: bool = False) -> Repository:
        """Create a repository with one commit."""
        repository = self.repositories[name] = Repository(private, gated)
        repository.commit({".gitattributes": b"*.safetensors filter=lfs\n", **files}, "initial commit")
        return repository

    def stop(self) -> None:
        """Stop answering; later requests are refused by the machine."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> FakeHub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self.stop()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._route("GET")

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{method} {path}")
        routes = {
            r"POST /api/repos/create": self._create,
            r"POST /api/validate-yaml": self._validate,
            r"PUT /lfs/(\w+)": self._upload,
            r"GET /api/models/([^/]+/[^/]+)(?:/revision/(.+))?": self._info,
            r"GET /api/models/([^/]+/[^/]+)/tree/(.+)": self._tree,
            r"POST /api/models/([^/]+/[^/]+)/preupload/(.+)": self._preupload,
            r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch": self._batch,
            r"POST /api/models/([^/]+/[^/]+)/commit/(.+)": self._commit,
            r"(?:GET|HEAD) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)": self._resolve,
        }
        # The most specific route is the last one that matches.
        found = [
            (run, match) for pattern, run in routes.items() if (match := re.fullmatch(pattern, f"{method} {path}"))
        ]
        if not found:
            self._answer(404, {"error": f"no route {method} {path}"})
            return
        run, match = found[-1]
        groups = match.groups()
        if len(groups) and run != self._upload:
            repository = self.hub.repositories.get(groups[0])
            if repository is None:
                self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
                return
            if repository.gated and run != self._info:
                self._answer(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
                return
        run(body, *groups)

    def _answer(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(data))} | dict(headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _create(self, body: bytes) -> None:
        given = json.loads(body)
        name = f"{given['organization']}/{given['name']}" if given.get("organization") else given["name"]
        if name in self.hub.repositories:
            self._answer(409, {"error": "exists"})
            return
        private = given.get("private") or given.get("visibility") == "private"
        self.hub.add(name, {}, bool(private))
        self._answer(200, {"url": f"{self.hub.endpoint}/{name}", "name": name, "id": "1"})

    def _validate(self, body: bytes) -> None:
        self._answer(200, {"errors": [], "warnings": []})

    def _upload(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.uploads[oid] = body
        self._answer(200, {})

    def _info(self, body: bytes, name: str, revision: str | None = None) -> None:
        repository = self.hub.repositories[name]
        sha = repository.resolve(revision or "main")
        if sha is None:
            self._answer(404, {"error": "no revision"}, {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [{"rfilename": path} for path in repository.commits[sha]]
        self._answer(
            200, {"id": name, "modelId": name, "sha": sha, "private": repository.private, "siblings": siblings}
        )

    def _tree(self, body: bytes, name: str, revision: str) -> None:
        repository = self.hub.repositories[name]
        sha = repository.resolve(revision) or ""
        entries = []
        for path, data in repository.commits[sha].items():
            entry = {"type": "file", "path": path, "size": len(data), "oid": _etag(path, data)}
            if path.endswith(LARGE):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        self._answer(200, entries)

    def _preupload(self, body: bytes, name: str, revision: str) -> None:
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(body)["files"]
        ]
        self._answer(200, {"files": modes})

    def _batch(self, body: bytes, name: str) -> None:
        objects = [
            one | {"actions": {"upload": {"href": f"{self.hub.endpoint}/lfs/{one['oid']}"}}}
            for one in json.loads(body)["objects"]
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, body: bytes, name: str, revision: str) -> None:
        if self.hub.fail:
            self._answer(self.hub.fail, {"error": "refused"})
            return
        repository, files, header = self.hub.repositories[name], {}, {}
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                header = value
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                assert entry["key"] == "lfsFile", entry
                files[value["path"]] = self.hub.uploads[value["oid"]]
        if header.get("parentCommit") not in (None, repository.head):
            self._answer(412, {"error": "another commit came first"})
            return
        sha = repository.commit(files, header["summary"])
        url = f"{self.hub.endpoint}/{name}/commit/{sha}"
        self._answer(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def _resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        repository = self.hub.repositories[name]
        sha = repository.resolve(revision)
        if sha is None or path not in repository.commits[sha]:
            self._answer(404, {"error": "no file"}, {"X-Error-Code": "EntryNotFound"})
            return
        data = repository.commits[sha][path]
        self._answer(200, data, {"X-Repo-Commit": sha, "ETag": f'"{_etag(path, data)}"'})


def _etag(path: str, data: bytes) -> str:
    """Return the id of a file: the SHA-256 of a large one, otherwise that of Git."""
    if path.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
