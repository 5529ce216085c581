"""Fronts of databases, for what the servers in the tests do not have themselves: compression, login by
certificate, and names that DNS leads to."""

import contextlib
import socket
import socketserver
import ssl
import struct
import threading
import zlib

import bson

OP_MSG, OP_COMPRESSED, OP_QUERY, OP_REPLY = 2013, 2012, 2004, 1
ZLIB = 2


def receive(stream):
    """The next message: its number, what it answers, its kind and the rest. Nothing at the end."""
    head = read(stream, 16)
    if head is None:
        return None
    length, number, answers, kind = struct.unpack("<iiii", head)
    return number, answers, kind, read(stream, length - 16)


def read(stream, length):
    data = b""
    while len(data) < length:
        some = stream.recv(length - len(data))
        if not some:
            return None
        data += some
    return data


def send(stream, number, answers, kind, rest):
    stream.sendall(struct.pack("<iiii", 16 + len(rest), number, answers, kind) + rest)


class Front:
    """Passes messages to a database that listens on a port, and answers what that cannot."""

    def __init__(self, behind, tls=None, compresses=False):
        self.behind, self.tls, self.compresses = behind, tls, compresses
        # How many messages came compressed, and who logged in with a certificate.
        self.compressed, self.logged_in = 0, set()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                # Who breaks a connection off is the client's business.
                with contextlib.suppress(OSError, ssl.SSLError):
                    outer.serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def serve(self, client):
        subject = None
        if self.tls:
            client = self.tls.wrap_socket(client, server_side=True)
            names = [pair for part in client.getpeercert()["subject"] for pair in part]
            subject = dict(names)["commonName"]
        is_known = self.tls is None
        with client, socket.create_connection(("127.0.0.1", self.behind)) as server:
            while message := receive(client):
                number, _, kind, rest = message
                was_compressed = kind == OP_COMPRESSED
                if was_compressed:
                    kind, _, by = struct.unpack("<iiB", rest[:9])
                    assert by == ZLIB
                    rest = zlib.decompress(rest[9:])
                    self.compressed += 1
                command = bson.decode(rest[5:]) if kind == OP_MSG and rest[4] == 0 and is_one(rest) else {}
                if command.get("authenticate") and command.get("mechanism") == "MONGODB-X509":
                    is_known = True
                    self.logged_in.add(subject)
                    reply = {"ok": 1.0, "dbname": "$external", "user": f"CN={subject}"}
                elif not is_known and command and not {"hello", "isMaster", "ismaster"} & set(command):
                    reply = {"ok": 0.0, "code": 13, "codeName": "Unauthorized", "errmsg": "log in first"}
                else:
                    send(server, number, 0, kind, rest)
                    number, answers, kind, rest = receive(server)
                    rest = self.introduce(kind, rest, command)
                    self.answer(client, number, answers, kind, rest, was_compressed)
                    continue
                self.answer(client, 1, number, OP_MSG, struct.pack("<IB", 0, 0) + bson.encode(reply), False)

    def introduce(self, kind, rest, command):
        """What the server says of itself, with what this front can."""
        at = {OP_MSG: 5, OP_REPLY: 20}.get(kind)
        is_greeting = kind == OP_REPLY or {"hello", "isMaster", "ismaster"} & set(command)
        if not (self.compresses and is_greeting and at):
            return rest
        said = bson.decode(rest[at:])
        said["compression"] = ["zlib"]
        return rest[:at] + bson.encode(said)

    def answer(self, client, number, answers, kind, rest, is_compressed):
        if is_compressed:
            rest = struct.pack("<iiB", kind, len(rest), ZLIB) + zlib.compress(rest)
            kind = OP_COMPRESSED
        send(client, number, answers, kind, rest)


def is_one(rest):
    """Whether a message is one document and nothing beside it."""
    return struct.unpack("<i", rest[5:9])[0] == len(rest) - 5


class Names(socketserver.BaseRequestHandler):
    """A DNS server for `*.tidemark.test`: `_mongodb._tcp.cluster` leads to `one`, which is this machine."""

    port = None

    def handle(self):
        query, answering = self.request
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        kind = struct.unpack(">H", query[at + 1:at + 3])[0]
        name, question = ".".join(labels), query[12:at + 5]
        A, TXT, SRV = 1, 16, 33
        record = {
            ("_mongodb._tcp.cluster.db.tidemark.test", SRV):
                struct.pack(">HHH", 0, 0, self.server.port) + encoded("one.db.tidemark.test"),
            ("cluster.db.tidemark.test", TXT): b"\x10authSource=admin",
            ("one.db.tidemark.test", A): bytes([127, 0, 0, 1]),
        }.get((name, kind))
        is_ours = name.endswith("tidemark.test")
        answers = b"" if record is None else (
            b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(record)) + record)
        # An answer without records where the name is known, and that there is none otherwise.
        flags = 0x8580 if is_ours else 0x8583
        head = query[:2] + struct.pack(">HHHHH", flags, 1, 1 if answers else 0, 0, 0)
        answering.sendto(head + question + answers, self.client_address)


def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


@contextlib.contextmanager
def name_server(address, port):
    """Answers DNS on an address of this machine; the cluster it knows listens on `port`."""
    server = socketserver.ThreadingUDPServer((address, 53), Names)
    server.port = port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
