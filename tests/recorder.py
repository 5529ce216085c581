"""A proxy between clients and the server that remembers every answer of the API.

Clients do not notice it: headers and bodies pass as they are. What it remembers is checked at the
end of all tests (`test_zz_conformance.py`): every answer against the official schema, whichever
client asked.
"""

import dataclasses
import http.client
import http.server
import os
import pathlib
import pickle
import re
import threading

ROOT = "/api/atlas/v2"
# Headers that belong to one connection and not to the message.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "proxy-connection", "te", "upgrade"}


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One request and what was answered."""

    client: str
    method: str
    path: str
    query: str
    accept: str
    status: int
    content_type: str
    body: bytes


EXCHANGES = []
# Test runs side by side leave what they saw in this folder, for the one that checks all of it.
FOLDER = "TIDEMARK_TEST_EXCHANGES"


def keep():
    """Leaves what this process saw for `all_exchanges` of another one."""
    if folder := os.environ.get(FOLDER):
        pathlib.Path(folder, f"{os.getpid()}.pickle").write_bytes(pickle.dumps(EXCHANGES))


def all_exchanges():
    """What this process saw and what others left."""
    found = list(EXCHANGES)
    if folder := os.environ.get(FOLDER):
        for file in sorted(pathlib.Path(folder).glob("*.pickle")):
            found += pickle.loads(file.read_bytes())
    return found


CLIENTS = [
    (r"go-atlas-sdk-admin/(v\d+)", r"Go SDK \1"),
    (r"replay of atlascli", "atlas CLI, replayed"),
    (r"curl/", "curl"),
    (r"python-httpx/", "Python (pyatlassdk)"),
    (r"mcp-atlas-api-client", "Node (mcp-atlas-api-client)"),
    (r"schemathesis/", "schemathesis"),
    (r"ureq/", "tidemark"),
    (r"Python-urllib/", "test suite"),
]


def client_of(agent):
    for pattern, name in CLIENTS:
        if found := re.search(pattern, agent):
            return found.expand(name)
    return agent.split(" ")[0] or "unknown"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Small answers must not wait for each other.
    disable_nagle_algorithm = True

    def forward(self):
        body = self.read_body()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        if body is not None:
            headers["Content-Length"] = str(len(body))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=120)
        try:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            if "ndjson" in answer.getheader("Content-Type", ""):
                return self.hand_on(answer)
            content = answer.read()
        except OSError:
            self.send_error(502)
            return
        finally:
            upstream.close()
        self.remember(answer, content)
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None and answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def hand_on(self, answer):
        """Lines as they come; when the client is gone, the server is told by the end of the connection."""
        self.close_connection = True
        self.send_response_only(answer.status, answer.reason)
        self.send_header("Content-Type", answer.getheader("Content-Type"))
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while line := answer.readline():
                self.wfile.write(line)
        except (OSError, http.client.IncompleteRead):
            pass

    def __getattr__(self, name):
        """Every method is forwarded, those that the server does not have included."""
        if name.startswith("do_"):
            return self.forward
        raise AttributeError(name)

    def read_body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return b"".join(self.read_chunks())
        length = self.headers.get("Content-Length")
        return self.rfile.read(int(length)) if length else None

    def read_chunks(self):
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def remember(self, answer, content):
        path, _, query = self.path.partition("?")
        if path == ROOT or path.startswith(ROOT + "/"):
            exchange = Exchange(
                client_of(self.headers.get("User-Agent", "")),
                self.command,
                path,
                query,
                self.headers.get("Accept", ""),
                answer.status,
                answer.getheader("Content-Type", ""),
                content,
            )
            EXCHANGES.append(exchange)

    def log_message(self, *_):
        pass


class Recorder:
    """A running proxy in front of one server."""

    def __init__(self, target):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.target = target
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
