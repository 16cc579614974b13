"""A hub of models on this machine: the routes of huggingface.co that fetching and uploading need, over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


class LocalHub(ThreadingHTTPServer):
    """Files by commit of each model, newest last; `requests` are all that were answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Routes)
        self.models: dict[str, dict[str, Files]] = {}
        self.requests: list[str] = []
        self.status: int | None = None
        """Answer to everything, if it is set."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, name: str, files: Files) -> str:
        """Add a commit with these files, and return its id."""
        commits = self.models.setdefault(name, {})
        commits[f"{len(commits) + 1:040x}"] = files
        return list(commits)[-1]

    def upload(self, name: str, folder: Path) -> str:
        """Add a commit with the files of a folder."""
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return self.commit(name, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})


@contextmanager
def serve_hub() -> Iterator[LocalHub]:
    """A hub that answers until the block ends."""
    with LocalHub() as hub:
        thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class Routes(BaseHTTPRequestHandler):
    """The routes; a name that the hub does not have is answered as huggingface.co does, by 401 and X-Error-Code."""

    server: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if not self.refused():
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                self.answer_about("/".join(parts[2:4]), parts[4:])
            else:  # owner/name/resolve/revision/file
                self.answer_file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.refused():
            return
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked.get('organization', 'me')}/{asked['name']}"
            self.server.models.setdefault(name, {})
            self.send({"url": f"{self.server.address}/{name}"})
        elif parts[-2:-1] == ["preupload"]:
            files = [file["path"] for file in json.loads(body)["files"]]
            self.send({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in files]})
        elif parts[-2:-1] == ["commit"]:
            name = "/".join(parts[2:4])
            commit = self.server.commit(name, self.changed(name, body))
            self.send({"commitUrl": f"{self.server.address}/{name}/commit/{commit}", "commitOid": commit})
        else:  # whether the head of a card is in order
            self.send({"errors": [], "warnings": []})

    def changed(self, name: str, body: bytes) -> Files:
        """The files of the newest commit with the operations of an upload, a line of JSON each."""
        files = dict(list(self.server.models[name].values())[-1]) if self.server.models[name] else {}
        for line in body.decode().splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        return files

    def refused(self) -> bool:
        """Answer by the status of the hub, if it is set."""
        self.server.requests.append(f"{self.command} {urlsplit(self.path).path}")
        if self.server.status is not None:
            self.send({"error": "as the test says"}, self.server.status)
        return self.server.status is not None

    def find(self, name: str, revision: str) -> tuple[str, Files] | None:
        """Commit and files of a revision; else answers what is missing, and returns None."""
        commits = self.server.models.get(name)
        if commits is None:
            self.send({"error": "no such model"}, 401, {"X-Error-Code": "RepoNotFound"})
            return None
        commit = list(commits)[-1] if revision == "main" and commits else revision
        if commit not in commits:
            if revision == "main":  # made and still empty
                return "0" * 40, {}
            self.send({"error": "no such revision"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit, commits[commit]

    def answer_about(self, name: str, rest: list[str]) -> None:
        """What a model holds: `revision/…` (its files by name) or `tree/…` (with their sizes)."""
        revision = rest[1] if len(rest) > 1 else "main"
        if (found := self.find(name, revision)) is None:
            return
        commit, files = found
        if rest[:1] == ["tree"]:
            self.send(
                [{"type": "file", "path": p, "size": len(data), "oid": tag_of(data)} for p, data in files.items()]
            )
        else:
            self.send({"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in files]})

    def answer_file(self, name: str, revision: str, path: str) -> None:
        """One file of a commit."""
        if (found := self.find(name, revision)) is None:
            return
        commit, files = found
        if path not in files:
            self.send({"error": "no such file"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        self.send(files[path], headers={"ETag": f'"{tag_of(files[path])}"', "X-Repo-Commit": commit})

    def send(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send bytes as they are, anything else as JSON."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
        self.send_response(status)
        for key, text in ({"Content-Type": kind, "Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(key, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def tag_of(data: bytes) -> str:
    """The tag by which a cache knows a file."""
    return hashlib.sha1(data).hexdigest()
