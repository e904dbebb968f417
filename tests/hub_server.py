"""A small Hugging Face Hub on loopback: the endpoints that huggingface_hub uses, in memory."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_good"


@dataclass
class Repo:
    """Commits (oldest first) of file names to contents."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The full name and the files of a commit, or of the newest for "main"."""
        if revision == "main" and self.commits:
            return list(self.commits.items())[-1]
        return (revision, self.commits[revision]) if revision in self.commits else None


class Hub(ThreadingHTTPServer):
    """The server and what it stores. `cut` names files whose next download breaks off."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.requests.append(f"{self.command} {self.path}")
        path = self.path.split("?")[0]
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            name, what, revision = found.groups()
            return self._with_commit(name, revision or "main", self._info, what)
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            name, revision, file = found.groups()
            return self._with_commit(name, revision, self._file, file)
        return self._json({"error": "unknown"}, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self._json({"warnings": [], "errors": []})
        if self.path.endswith("/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        if "/preupload/" in self.path:
            return self._preupload(json.loads(body))
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path.split("?")[0])
        return self._commit(found.group(1), body)

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.blobs[hashlib.sha256(body).hexdigest()] = body
        self._json({})

    def _with_commit(self, name, revision, answer, argument):
        repo = self.server.repos.get(name)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo is None or (repo.private and not known):
            return self._refuse(401 if not known else 404, "RepoNotFound")
        if repo.gated and not known:
            return self._refuse(403, "GatedRepo")
        if (commit := repo.files(revision)) is None:
            return self._refuse(404, "RevisionNotFound")
        return answer(name, *commit, argument)

    def _refuse(self, status, code):
        self._json({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code})

    def _info(self, name, sha, files, what):
        if what == "tree":
            entries = [
                {"type": "file", "path": path, "size": len(data), "oid": _sha(data)}
                for path, data in files.items()
            ]
            return self._json(entries)
        siblings = [{"rfilename": path, "size": len(data)} for path, data in files.items()]
        return self._json({"id": name, "modelId": name, "sha": sha, "siblings": siblings})

    def _file(self, _name, sha, files, path):
        if path not in files:
            return self._refuse(404, "EntryNotFound")
        data = files[path]
        self.send_response(200)
        for key, value in {
            "ETag": f'"{_sha(data)}"',
            "X-Repo-Commit": sha,
            "Content-Length": str(len(data)),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            if path in self.server.cut:
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
                return None
            self.wfile.write(data)
        return None

    def _create(self, wanted):
        name = f"{wanted.get('organization', 'me')}/{wanted['name']}"
        status = 409 if name in self.server.repos else 200
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.server.repos.setdefault(name, Repo(private=private))
        return self._json({"url": f"{self.server.address}/{name}", "name": name}, status)

    def _preupload(self, wanted):
        files = [
            {
                "path": f["path"],
                "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for f in wanted["files"]
        ]
        return self._json({"files": files})

    def _batch(self, wanted):
        objects = [
            {**o, "actions": {"upload": {"href": f"{self.server.address}/lfs/{o['oid']}"}}}
            for o in wanted["objects"]
        ]
        return self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name, body):
        repo = self.server.repos[name]
        files = dict(repo.files("main")[1]) if repo.commits else {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
        sha = hashlib.sha1(body + str(len(repo.commits)).encode()).hexdigest()
        repo.commits[sha] = files
        url = f"{self.server.address}/{name}/commit/{sha}"
        return self._json({"success": True, "commitOid": sha, "commitUrl": url})

    def _json(self, data, status=200, headers=None):
        content = json.dumps(data).encode()
        self.send_response(status)
        for key, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
