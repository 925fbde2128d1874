"""A server on loopback that speaks the Hugging Face Hub's protocol, for one repository."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator

COMMIT = "c" * 40


class Hub:
    """The repository's files, and what was asked of it: a request's method, path and range.

    With `stop_after`, an answer ends after that number of bytes, as a broken connection does; with
    `ranges` off, a request for the rest of a file is answered with all of it.
    """

    def __init__(self, name: str, files: dict[str, bytes]) -> None:
        self.name, self.files, self.stop_after, self.ranges = name, files, 0, True
        self.requests: list[tuple[str, str, str]] = []
        self.address = ""

    @property
    def downloads(self) -> list[tuple[str, str, str]]:
        """Requests for the bytes of files."""
        return [each for each in self.requests if each[0] == "GET" and "/api/" not in each[1]]


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serves until the block ends; `hub.address` is the server's."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.hub.requests.append(("POST", self.path, ""))
        if self.path.endswith("/repos/create"):
            self._send(json.dumps({"url": f"{self.hub.address}/{self.hub.name}"}).encode())
        elif self.path.endswith("/validate-yaml"):
            self._send(b'{"errors": [], "warnings": []}')
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._send(json.dumps({"files": files}).encode())
        else:  # a commit: a JSON line for its message and one for each file
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.hub.files[line["value"]["path"]] = content
            url = f"{self.hub.address}/{self.hub.name}/commit/{COMMIT}"
            self._send(json.dumps({"commitUrl": url, "commitOid": COMMIT}).encode())

    def _answer(self):
        self.hub.requests.append((self.command, self.path, self.headers.get("Range", "")))
        path, name, files = self.path.partition("?")[0], self.hub.name, self.hub.files
        if path == "/":
            return self._send(b"")
        if path == f"/api/models/{name}" or path.startswith(f"/api/models/{name}/revision/"):
            siblings = [{"rfilename": file} for file in files]
            return self._send(
                json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode()
            )
        if path.startswith(f"/api/models/{name}/tree/"):
            tree = [
                {"type": "file", "path": file, "size": len(content), "oid": "a" * 40}
                for file, content in files.items()
            ]
            return self._send(json.dumps(tree).encode())
        file = re.sub(rf"^/{name}/resolve/[^/]+/", "", path)
        if file in files:
            return self._send(files[file], file=True)
        return self._send(b"", 404, {"X-Error-Code": "EntryNotFound"})

    def _send(self, content, status=200, headers=None, file=False):
        headers, first = dict(headers or {}), 0
        if file:
            digest = hashlib.sha256(content).hexdigest()
            headers |= {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and self.hub.ranges:
                first, status = int(wanted[1]), 206
                headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.send_response(status)
        headers["Content-Length"] = str(len(content) - first)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            end = first + self.hub.stop_after if file and self.hub.stop_after else len(content)
            self.wfile.write(content[first:end])

    def log_message(self, *args):
        pass
