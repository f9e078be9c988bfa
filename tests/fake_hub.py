"""A small stand-in of the hub on 127.0.0.1: enough of its API for huggingface_hub to download, create and commit."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

TOKEN = "hf_a_very_secret_token"
Files = dict[str, bytes]


@dataclass
class FakeHub:
    """Repositories as lists of commits. `cuts`: file -> how often its download breaks off in the middle."""

    commits: dict[str, list[tuple[str, Files]]] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    uploads: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    url: str = ""
    is_down: bool = False

    def put(self, repository: str, files: Mapping[str, bytes]) -> str:
        """One more commit; its id."""
        listing = json.dumps({name: sha(data) for name, data in sorted(files.items())})
        oid = hashlib.sha1(f"{repository} {len(self.commits.get(repository, []))} {listing}".encode()).hexdigest()
        self.commits.setdefault(repository, []).append((oid, dict(files)))
        return oid

    def find(self, repository: str, revision: str) -> tuple[str, Files] | None:
        commits = self.commits[repository]
        return commits[-1] if revision == "main" else next((c for c in commits if c[0] == revision), None)

    def asked(self, method: str) -> list[str]:
        return [path for verb, path, _ in self.requests if verb == method]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def start(hub: FakeHub) -> ThreadingHTTPServer:
    """A server of `hub`, to be run in a thread; its address goes into `hub.url`."""

    class Handler(_Handler):
        fake = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    return server


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def handle_request(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        path = unquote(urlparse(self.path).path)
        self.fake.requests.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
        if self.fake.is_down:
            self.say(503, b"down for maintenance")
        elif path.startswith("/api/models/"):
            self.about_a_repository(path.removeprefix("/api/models/"))
        elif path == "/api/repos/create":
            self.create()
        elif path == "/api/validate-yaml":
            self.tell({"errors": [], "warnings": []})
        elif path.endswith("/info/lfs/objects/batch"):
            self.batch()
        elif path.startswith("/upload/"):
            self.fake.uploads[path.removeprefix("/upload/")] = self.body
            self.say(200, b"")
        elif "/resolve/" in path:
            self.resolve(path)
        else:
            self.say(404, b"")

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def about_a_repository(self, rest: str) -> None:
        owner, name, *words = rest.split("/")
        repository = f"{owner}/{name}"
        if repository not in self.fake.commits:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        verb, revision = words[:2] if len(words) > 1 else ("revision", "main")
        if verb in ("preupload", "commit"):
            return self.preupload() if verb == "preupload" else self.commit(repository)
        found = self.fake.find(repository, revision)
        if found is None:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id")
        oid, files = found
        if verb == "tree":
            return self.tell([self.entry(file, data) for file, data in files.items()])
        return self.tell({"id": repository, "sha": oid, "siblings": [{"rfilename": file} for file in files]})

    def entry(self, name: str, data: bytes) -> dict[str, Any]:
        lfs = {"lfs": {"size": len(data), "oid": sha(data), "pointerSize": 100}} if name.endswith("safetensors") else {}
        return {"type": "file", "path": name, "size": len(data), "oid": "0" * 40, **lfs}

    def resolve(self, path: str) -> None:
        repository, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        found = self.fake.find(repository, revision)
        if repository in self.fake.gated:
            return self.refuse(403, "GatedRepo", "Access is restricted")
        if found is None or name not in found[1]:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        oid, data = found[0], found[1][name]
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"ETag": f'"{sha(data)}"', "X-Repo-Commit": oid, "Content-Length": str(len(data) - begin)}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        if self.command == "GET" and self.fake.cuts.get(name, 0) > 0:
            self.fake.cuts[name] -= 1
            self.say(206 if begin else 200, data[begin : (begin + len(data)) // 2], headers)
            self.close_connection = True
            return None
        return self.say(206 if begin else 200, data[begin:], headers)

    def create(self) -> None:
        asked = json.loads(self.body)
        owner, repository = asked.get("organization"), f"{asked.get('organization')}/{asked['name']}"
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "", "Invalid username or password.")
        if owner != "me":
            return self.refuse(403, "", f"You cannot create a model under the namespace {owner}.")
        if repository in self.fake.commits:
            status = 409
        else:
            status = 200
            self.fake.put(repository, {".gitattributes": b""})
        told = {"url": f"{self.fake.url}/{repository}", "id": repository}
        return self.say(status, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def preupload(self) -> None:
        files = json.loads(self.body)["files"]
        modes = {file["path"]: "lfs" if file["path"].endswith("safetensors") else "regular" for file in files}
        self.tell(
            {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]}
        )

    def batch(self) -> None:
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.fake.url}/upload/{item['oid']}"}}}
            for item in json.loads(self.body)["objects"]
        ]
        self.tell({"transfer": "basic", "objects": objects})

    def commit(self, repository: str) -> None:
        files = dict(self.fake.commits[repository][-1][1])
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.fake.uploads[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = self.fake.put(repository, files)
        self.tell({"success": True, "commitOid": oid, "commitUrl": f"{self.fake.url}/{repository}/commit/{oid}"})

    def tell(self, table: Any) -> None:
        self.say(200, json.dumps(table).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.say(status, json.dumps({"error": message}).encode(), headers)

    def say(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
