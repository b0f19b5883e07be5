"""A stand-in for the Hugging Face Hub on loopback, speaking the protocol of its Python client: accounts, repositories,
branches, preupload, LFS batch and uploads, commits, trees and downloads; of the xet protocol what an upload needs. It
keeps everything in memory."""

import base64
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

WRITE_TOKEN, READ_TOKEN = "hf_" + "w" * 34, "hf_" + "r" * 34


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repository:
    """Branches as lists of commits; a commit is its id, its title and the content of every file."""

    private: bool
    branches: dict[str, list[tuple[str, str, dict[str, bytes]]]] = field(default_factory=dict)

    def commit(self, branch: str, title: str, files: dict[str, bytes]) -> str:
        seed = json.dumps([branch, title, sorted(files), len(self.branches.get(branch, ()))])
        oid = hashlib.sha1(seed.encode()).hexdigest()
        self.branches.setdefault(branch, []).append((oid, title, files))
        return oid

    def at(self, revision: str) -> tuple[str, str, dict[str, bytes]] | None:
        if revision in self.branches:
            return self.branches[revision][-1]
        return next((commit for commits in self.branches.values() for commit in commits if commit[0] == revision), None)


class HubServer(ThreadingHTTPServer):
    """The state of the stand-in, and knobs for its failures.

    `cut_uploads_after`: uploads that arrive before connections are cut. `stored`: LFS objects by sha256. `requests`:
    method and path of everything that was asked. `uploads`: sizes of the LFS objects that arrived, in order. `owners`:
    accounts the write token may write to. `hidden`: repositories that no token sees. `xorbs`: hashes of the blocks of
    chunks that came over xet, each time they came; `shards`: what says which files they are. `xet_status` and
    `xorb_status`: of the answers to who asks for access to xet and to who sends a block. `cut_commits`: connections of
    commits are cut.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.uploads: list[int] = []
        self.xorbs: list[str] = []
        self.shards: list[bytes] = []
        self.xet_status = self.xorb_status = 200
        self.cut_commits = False
        self.cut_uploads_after: int | None = None
        self.cut_downloads_after: int | None = None
        self.owners = {"me"}
        self.hidden: set[str] = set()
        self.lfs_from = 4096  # bytes; also everything called *.safetensors

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes], *, private: bool = False) -> Repository:
        """A repository with these files."""
        repository = self.repositories[name] = Repository(private)
        repository.commit("main", "initial commit", files)
        return repository

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a repository, without the one the Hub makes."""
        found = self.repositories[name].at(revision)
        assert found is not None
        return {path: data for path, data in found[2].items() if path != ".gitattributes"}

    def has_arrived_over_xet(self, sha256: str) -> bool:
        """Whether a file was announced: hashes are written as four numbers of eight bytes, little end first."""
        words = [bytes.fromhex(sha256)[start : start + 8][::-1] for start in range(0, 32, 8)]
        return any(each in shard for shard in self.shards for each in (b"".join(words), bytes.fromhex(sha256)))

    def is_lfs(self, path: str, size: int) -> bool:
        return path.endswith(".safetensors") or size >= self.lfs_from

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, daemon=True).start()


class HubHandler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self._split = urlsplit(self.path)
        self._path = unquote(self._split.path)
        self.server.requests.append(f"{self.command} {self._path}")
        if self.command == "PUT" and (found := re.fullmatch(r"/lfs/([0-9a-f]{64})", self._path)):
            self._store(found[1])
            return
        self._body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for pattern, method in _ROUTES:
            if found := re.fullmatch(pattern, self._path):
                method(self, *found.groups())
                return
        self._send(404, {"error": f"no route {self._path}"})

    def _role(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return {WRITE_TOKEN: "write", READ_TOKEN: "read"}.get(token)

    def _send(self, status: int, record: Any, headers: dict[str, str] | None = None) -> None:
        data = record if isinstance(record, bytes) else json.dumps(record).encode()
        self.send_response(status)
        if isinstance(record, dict) and "error" in record:
            self.send_header("X-Error-Message", str(record["error"]))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _store(self, oid: str) -> None:
        limit = self.server.cut_uploads_after
        if limit is not None and len(self.server.uploads) >= limit:
            self.rfile.read(64)
            self._cut()
            return
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers["Content-Length"]))
        if hashlib.sha256(data).hexdigest() != oid:
            self._send(400, {"error": "the content is not what was announced"})
            return
        self.server.stored[oid] = data
        self.server.uploads.append(len(data))
        self._send(200, {})

    def _repository(self, name: str, *, write: bool = False) -> Repository | None:
        found = self.server.repositories.get(name)
        if found is None or name in self.server.hidden or (found.private and self._role() is None):
            self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        if write and (self._role() != "write" or name.split("/")[0] not in self.server.owners):
            self._send(403, {"error": f"you have no right to write to {name}"})
            return None
        return found

    def _revision(self, repository: Repository, revision: str) -> tuple[str, str, dict[str, bytes]] | None:
        found = repository.at(revision)
        if found is None:
            self._send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        return found

    def whoami(self) -> None:
        role = self._role()
        if role is None:
            self._send(401, {"error": "Invalid credentials in Authorization header"})
            return
        self._send(200, {"name": "me", "type": "user", "orgs": [], "auth": {"accessToken": {"role": role}}})

    def create(self) -> None:
        wanted = json.loads(self._body)
        owner = wanted["organization"] or "me"
        name = f"{owner}/{wanted['name']}"
        if self._role() != "write" or owner not in self.server.owners:
            self._send(403, {"error": f'You don\'t have the rights to create a model under the namespace "{owner}"'})
            return
        if name in self.server.repositories:
            self._send(409, {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"})
            return
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.server.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private=private)
        self._send(200, {"url": f"{self.server.url}/{name}", "name": name, "id": name})

    def validate_yaml(self) -> None:
        text = json.loads(self._body)["content"]
        bad = not text.startswith("---\n")
        self._send(200 if not bad else 400, {"errors": [{"message": "no head"}] if bad else [], "warnings": []})

    def info(self, name: str, revision: str | None = None) -> None:
        repository = self._repository(name)
        found = repository and self._revision(repository, revision or "main")
        if repository is None or not found:
            return
        head = re.match(rb"---\n(.*?)\n---", found[2].get("README.md", b""), re.S)
        card = {}
        if head:
            import yaml

            card = yaml.safe_load(head[1])
        siblings = [{"rfilename": path} for path in found[2]]
        record = {"id": name, "modelId": name, "private": repository.private, "sha": found[0], "siblings": siblings}
        self._send(200, {**record, "cardData": card, "tags": [], "downloads": 0, "likes": 0})

    def tree(self, name: str, revision: str) -> None:
        repository = self._repository(name)
        found = repository and self._revision(repository, revision)
        if not found:
            return
        entries = []
        for path, data in found[2].items():
            entry = {"type": "file", "path": path, "size": len(data), "oid": git_hash(data)}
            if self.server.is_lfs(path, len(data)):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        self._send(200, entries)

    def branch(self, name: str, branch: str) -> None:
        repository = self._repository(name, write=True)
        if repository is None:
            return
        if branch in repository.branches:
            self._send(409, {"error": "Reference already exists"})
            return
        repository.branches[branch] = list(repository.branches["main"])
        self._send(200, {})

    def preupload(self, name: str, revision: str) -> None:
        repository = self._repository(name, write=True)
        found = repository and self._revision(repository, revision)
        if not found:
            return
        answers = []
        for file in json.loads(self._body)["files"]:
            lfs = self.server.is_lfs(file["path"], file["size"])
            old = found[2].get(file["path"])
            oid = None if old is None else hashlib.sha256(old).hexdigest() if lfs else git_hash(old)
            mode = "lfs" if lfs else "regular"
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._send(200, {"files": answers})

    def batch(self, name: str) -> None:
        if self._repository(name, write=True) is None:
            return
        objects = []
        for item in json.loads(self._body)["objects"]:
            answer: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.server.stored:
                answer["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{item['oid']}"}}
            objects.append(answer)
        self._send(200, {"transfer": "basic", "objects": objects})

    def xet_access(self, name: str, _revision: str) -> None:
        if self._repository(name, write=True) is None:
            return
        record = {"casUrl": self.server.url, "accessToken": "xet", "exp": int(time.time()) + 3600}
        self._send(self.server.xet_status, record)

    def known_chunk(self, _hash: str) -> None:
        self._send(404, {"error": "not known"})

    def xorb(self, hash: str) -> None:
        if self.server.xorb_status == 200:
            self.server.xorbs.append(hash)
        self._send(self.server.xorb_status, {"was_inserted": True})

    def shard(self) -> None:
        self.server.shards.append(self._body)
        self._send(200, {"result": 1})

    def commit(self, name: str, revision: str) -> None:
        if self.server.cut_commits:
            self._cut()
            return
        repository = self._repository(name, write=True)
        found = repository and self._revision(repository, revision)
        if repository is None or not found:
            return
        files, title = dict(found[2]), ""
        for line in self._body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                title = value["summary"]
                if value.get("parentCommit") not in (None, found[0]):
                    self._send(412, {"error": "A commit has happened since. Please refresh and try again."})
                    return
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self._content(value["oid"])
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(revision, title, files)
        self._send(200, {"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid})

    def _content(self, oid: str) -> bytes:
        """Of a file that came over xet, only that it came: its blocks may be compressed."""
        if self.server.has_arrived_over_xet(oid):
            return f"xet {oid}".encode()
        return self.server.stored[oid]

    def download(self, name: str, revision: str, path: str) -> None:
        repository = self._repository(name)
        found = repository and self._revision(repository, revision)
        if not found:
            return
        data = found[2].get(path)
        if data is None:
            self._send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": found[0]})
            return
        headers = {"ETag": f'"{git_hash(data)}"', "X-Repo-Commit": found[0], "Accept-Ranges": "bytes"}
        if self.command == "HEAD":
            self._send(200, data, headers)
            return
        limit = self.server.cut_downloads_after
        if limit is not None and len(data) > limit:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:limit])
            self.wfile.flush()
            self._cut()
            return
        start = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if start:
            end = int(start[2]) + 1 if start[2] else len(data)
            part = data[int(start[1]) : end]
            self._send(206, part, {**headers, "Content-Range": f"bytes {start[1]}-{end - 1}/{len(data)}"})
            return
        self._send(200, data, headers)

    def home(self) -> None:
        self._send(200, {"query": parse_qs(self._split.query)})


_NAME = r"([^/]+/[^/]+)"
_ROUTES: Any = (
    ("/?", HubHandler.home),
    ("/api/whoami-v2", HubHandler.whoami),
    ("/api/repos/create", HubHandler.create),
    ("/api/validate-yaml", HubHandler.validate_yaml),
    (rf"/api/models/{_NAME}", HubHandler.info),
    (rf"/api/models/{_NAME}/xet-write-token/(.+)", HubHandler.xet_access),
    ("/v1/chunks/[^/]+/(.+)", HubHandler.known_chunk),
    ("/v1/xorbs/[^/]+/(.+)", HubHandler.xorb),
    ("/v1/shards", HubHandler.shard),
    (rf"/api/models/{_NAME}/revision/(.+)", HubHandler.info),
    (rf"/api/models/{_NAME}/tree/(.+)", HubHandler.tree),
    (rf"/api/models/{_NAME}/branch/(.+)", HubHandler.branch),
    (rf"/api/models/{_NAME}/preupload/(.+)", HubHandler.preupload),
    (rf"/api/models/{_NAME}/commit/(.+)", HubHandler.commit),
    (rf"/{_NAME}\.git/info/lfs/objects/batch", HubHandler.batch),
    (rf"/{_NAME}/resolve/([^/]+)/(.+)", HubHandler.download),
)
