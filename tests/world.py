"""A world to test in: the built binary, its API, its databases."""

import base64
import contextlib
import fcntl
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import pymongo
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from recorder import Recorder

TOP = pathlib.Path(__file__).resolve().parent.parent
BINARY = TOP / "target" / "debug" / "tidemark"
CLIENTS = TOP / ".clients"
PASSWORD = "a-password-for-tests"
PATIENCE_SECONDS = 90
# Every resource has a version at or before this date.
ACCEPT = "application/vnd.atlas.2025-03-12+json"


# Below the range from which the system gives ports to connections that go out: a server that is
# stopped and started again finds its own port free.
FIRST_PORT, LAST_PORT, BLOCK = 10_000, 26_000, 64
PORT_LOCKS = pathlib.Path(tempfile.gettempdir()) / "tidemark-test-ports"


class Ports:
    """A block of ports that no other test of this machine uses as long as it is held."""

    def __init__(self):
        PORT_LOCKS.mkdir(exist_ok=True)
        blocks = list(range(FIRST_PORT, LAST_PORT - BLOCK, BLOCK))
        random.shuffle(blocks)
        for first in blocks:
            self.lock = open(PORT_LOCKS / str(first), "w")
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.lock.close()
                continue
            self.left = [port for port in range(first, first + BLOCK) if is_free(port)]
            if len(self.left) == BLOCK:
                return
            self.lock.close()
        raise AssertionError("no block of ports is free")

    def take(self):
        return self.left.pop(0)

    def close(self):
        self.lock.close()


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port():
    """A port for one server that a test starts by itself."""
    return single_ports().take()


@functools.cache
def single_ports():
    return Ports()


def until(condition, what):
    """Waits for a condition; there is no sleep for a fixed time in these tests."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def code_of(action):
    """The code with which a command is refused."""
    with pytest.raises(OperationFailure) as error:
        action()
    return error.value.code


class ApiError(Exception):
    def __init__(self, status, body, headers):
        super().__init__(f"{status} {body}")
        self.status, self.body, self.headers = status, body, headers

    @property
    def code(self):
        return self.body.get("errorCode")


class World:
    """One server on one data folder."""

    def __init__(self, *arguments, **settings):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-test-"))
        self.data = self.folder / "data"
        self.ports = Ports()
        self.server_port = self.ports.take()
        # What clients see; everything that passes is remembered.
        self.recorder = Recorder(self.server_port)
        self.port = self.recorder.port
        self.arguments = list(arguments)
        self.settings = {
            "server-public-url": f"http://127.0.0.1:{self.port}",
            "instances-first-port": str(self.ports.left[0]),
            "instances-last-port": str(self.ports.left[-1]),
            **{name.replace("_", "-"): str(value) for name, value in settings.items()},
        }
        server = os.environ.get("TIDEMARK_TEST_POSTGRES")
        if server:
            # Every world has a database of its own on the server of `scripts/with-postgres`.
            name = f"w{self.server_port}_{random.randrange(1 << 40)}"
            run(["psql", "--quiet", f"{server}/postgres", "-c", f"CREATE DATABASE {name}"])
            self.settings["catalog"] = f"{server}/{name}"
        # Variables of its own.
        self.environment = {}
        # Where it runs, and at which address it listens there.
        self.prefix, self.host = [], "127.0.0.1"
        # What proves who it is, where it speaks TLS; nothing is recorded then.
        self.tls = None
        self.process = None
        self.token = None

    def start(self, crash_at=None, ready=True):
        """Starts the server and waits until it is ready, or only until it answers."""
        listen = f"{self.host}:{self.server_port}"
        command = [*self.prefix, BINARY, "serve", "--data-dir", self.data, "--listen", listen, *self.arguments]
        for name, value in self.settings.items():
            command += [f"--{name}", value]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMARK_")}
        environment.update(self.environment)
        if crash_at:
            environment["TIDEMARK_CRASH_AT"] = crash_at
        self.log = open(self.folder / "server.log", "ab")
        self.process = subprocess.Popen(command, stderr=self.log, stdout=self.log, env=environment)
        # One that shall crash may do so before it says that it is ready.
        answers = self.is_ready if ready else self.is_alive
        until(lambda: self.has_crashed(crash_at) or answers(), "the server to be ready")
        self.bootstrap = json.loads((self.data / "bootstrap.json").read_text())
        self.group = self.bootstrap["groupId"]
        return self

    def has_crashed(self, crash_at):
        return crash_at and self.process.poll() == -signal.SIGABRT

    def is_ready(self):
        return self.answers("/readyz")

    def is_alive(self):
        return self.answers("/livez")

    def answers(self, path):
        assert self.process.poll() is None, f"the server ended: {self.log_text()}"
        try:
            scheme = "https" if self.tls else "http"
            url = f"{scheme}://{self.host}:{self.server_port}{path}"
            with urllib.request.urlopen(url, timeout=2, context=self.tls) as answer:
                return answer.status == 200
        except OSError:
            return False

    def log_text(self):
        return (self.folder / "server.log").read_text()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        return self.process.returncode if self.process else None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def wait_for_crash(self):
        self.process.wait(PATIENCE_SECONDS)
        assert self.process.returncode == -signal.SIGABRT, self.process.returncode

    def close(self):
        self.stop()
        self.recorder.close()
        self.ports.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # The API, as a service account. Both families of operations are served with this version.

    def base(self):
        return f"https://127.0.0.1:{self.server_port}" if self.tls else f"http://127.0.0.1:{self.port}"

    def new_token(self):
        pair = f"{self.bootstrap['clientId']}:{self.bootstrap['clientSecret']}"
        request = urllib.request.Request(
            f"{self.base()}/api/oauth/token",
            data=b"grant_type=client_credentials",
            headers={"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()},
        )
        with urllib.request.urlopen(request, context=self.tls) as answer:
            return json.loads(answer.read())["access_token"]

    def raw(self, method, path, body=None, headers=None):
        """Status, parsed body, headers."""
        if self.token is None:
            self.token = self.new_token()
        all_headers = {
            "Authorization": f"Bearer {self.token}",
            "Accept": ACCEPT,
            "Content-Type": "application/json",
            **(headers or {}),
        }
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.base()}{path}",
            data=data,
            method=method,
            headers={name: value for name, value in all_headers.items() if value is not None},
        )
        try:
            with urllib.request.urlopen(request, timeout=60, context=self.tls) as answer:
                text, status, answered = answer.read(), answer.status, answer.headers
        except urllib.error.HTTPError as error:
            text, status, answered = error.read(), error.code, error.headers
        try:
            parsed = json.loads(text) if text else None
        except ValueError:
            parsed = text
        return status, parsed, answered

    def call(self, method, path, body=None):
        """The body of a successful answer below the API's root."""
        status, parsed, headers = self.raw(method, "/api/atlas/v2" + path, body)
        if status >= 300:
            raise ApiError(status, parsed or {}, headers)
        return parsed

    # Instances and their backups.

    def instance_path(self, name="one"):
        return f"/groups/{self.group}/serverless/{name}"

    def create_instance(self, name="one"):
        provider = {"backingProviderName": "AWS", "providerName": "SERVERLESS", "regionName": "US_EAST_1"}
        self.call("POST", f"/groups/{self.group}/serverless", {"name": name, "providerSettings": provider})
        return self.wait_idle(name)

    def wait_idle(self, name="one"):
        def idle():
            instance = self.call("GET", self.instance_path(name))
            return instance if instance["stateName"] == "IDLE" else None

        return until(idle, f"{name} to be idle")

    def create_user(self, name="app", role="atlasAdmin", database="admin", **more):
        user = {
            "username": name,
            "password": PASSWORD,
            "databaseName": "admin",
            "roles": [{"roleName": role, "databaseName": database}],
            **more,
        }
        return self.call("POST", f"/groups/{self.group}/databaseUsers", user)

    def uri(self, name="one", user="app"):
        address = self.call("GET", self.instance_path(name))["connectionStrings"]["standardSrv"]
        return address.replace("mongodb://", f"mongodb://{user}:{PASSWORD}@")

    def client(self, name="one", user="app"):
        return pymongo.MongoClient(self.uri(name, user), serverSelectionTimeoutMS=10_000)

    def snapshot(self, name="one"):
        """Takes a snapshot and waits for it."""

        def posted():
            try:
                return self.call("POST", self.instance_path(name) + "/backup/snapshots", {})
            except ApiError as error:
                assert error.code == "UNFINISHED_ON_DEMAND_SNAPSHOT", error
                return None

        snapshot = until(posted, "a free place for a snapshot")
        return self.wait_snapshot(snapshot["id"], name)

    def wait_snapshot(self, snapshot, name="one"):
        def completed():
            found = self.call("GET", self.instance_path(name) + f"/backup/snapshots/{snapshot}")
            assert found["status"] != "failed", self.log_text()
            return found if found["status"] == "completed" else None

        return until(completed, "the snapshot")

    def restore(self, delivery, name="one", target="one", **attributes):
        """Asks for a restore job."""
        body = {"deliveryType": delivery, "targetClusterName": target, "targetGroupId": self.group, **attributes}
        return self.call("POST", self.instance_path(name) + "/backup/restoreJobs", body)

    def job(self, job, name="one"):
        return self.call("GET", self.instance_path(name) + f"/backup/restoreJobs/{job}")

    def wait_job(self, job, name="one"):
        def finished():
            found = self.job(job, name)
            return found if "finishedAt" in found else None

        return until(finished, "the restore job")

    def wait_restored(self, job, name="one"):
        finished = self.wait_job(job["id"], name)
        assert not finished["failed"] and not finished["cancelled"], self.log_text()
        return finished


def content(client, at_one_moment=False):
    """Every document of every collection of users, and every index, in a comparable form.

    Staging collections of a restore do not count, nor does its record of what it put in place: both go just
    after its end is known. With `at_one_moment` all documents are read at
    one cluster time, and indexes, which have no history, are left out.
    """
    found = {}
    with client.start_session(snapshot=True) if at_one_moment else contextlib.nullcontext() as session:
        for database in client.list_database_names():
            if database in ("admin", "config", "local"):
                continue
            for name in client[database].list_collection_names():
                if name.startswith("tidemark.stage.") or f"{database}.{name}" == "tidemark.tidemark_stage_swapped":
                    continue
                raw = client[database].get_collection(name, codec_options=CodecOptions(RawBSONDocument))
                documents = sorted(bytes(document.raw) for document in raw.find(session=session))
                if at_one_moment:
                    if documents:
                        found[f"{database}.{name}"] = documents
                    continue
                indexes = {
                    index: {key: value for key, value in spec.items() if key not in ("v", "ns")}
                    for index, spec in client[database][name].index_information().items()
                }
                found[f"{database}.{name}"] = (documents, indexes)
    return found


def run(command, **options):
    """Runs a real client; one that hangs is killed."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=PATIENCE_SECONDS, **options
    )
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout}\n{done.stderr}"
    return done.stdout
