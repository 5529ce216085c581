"""The API and the instances with TLS: certificates from files, read again when they change; clients with
certificates."""

import os
import ssl
import subprocess
import time
import urllib.error

import pymongo
import pytest
from pymongo.errors import ServerSelectionTimeoutError

from world import BINARY, content, run, until


class Authority:
    """A certificate authority of a test's own."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.ca = folder / "ca.pem"
        self.openssl("req", "-x509", *self.new_key("ca.key"), "-days", "2", "-subj", "/CN=test", "-out", self.ca)

    def openssl(self, *arguments):
        subprocess.run([str(part) for part in ("openssl", *arguments)], check=True, capture_output=True)

    def new_key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self.folder / name]

    def issue(self, name):
        """A certificate and its key, one after the other."""
        key, request, made = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extensions = self.folder / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        self.openssl("req", *self.new_key(f"{name}.key"), "-subj", f"/CN={name}", "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.folder / "ca.key", "-days", "2",
                     "-CAcreateserial", "-extfile", extensions, "-out", made)
        return made.read_text() + key.read_text()

    def context(self):
        return ssl.create_default_context(cafile=str(self.ca))


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority")


def serial(world):
    shown = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{world.server_port}"], input=b"",
                           capture_output=True).stdout
    return subprocess.run(["openssl", "x509", "-noout", "-subject"], input=shown, capture_output=True).stdout


def started(fresh, authority, tmp_path, **settings):
    files = tmp_path / "server.pem"
    files.write_text(authority.issue("first"))
    world = fresh(tls_certificate_key_file=files, **settings)
    del world.settings["server-public-url"]
    world.tls = authority.context()
    return world, files


def test_api_and_instances_speak_tls_and_follow_their_files(fresh, authority, tmp_path):
    world, files = started(fresh, authority, tmp_path)
    world.start()
    assert world.bootstrap["baseUrl"].startswith("https://")
    world.create_instance()
    world.create_user()
    uri = world.uri()
    assert "tls=true" in uri
    client = pymongo.MongoClient(uri, tlsCAFile=str(authority.ca), serverSelectionTimeoutMS=10_000)
    client.shop.items.insert_many({"_id": n, "text": "x" * 5000} for n in range(2000))
    wanted = content(client)
    snapshot = world.snapshot()
    client.shop.items.delete_many({})
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(client) == wanted
    # And our own command.
    taken = subprocess.run([str(BINARY), "snapshots", "list", "one", "--data-dir", str(world.data)],
                           env=os.environ | {"TIDEMARK_SERVER_CA_FILE": str(authority.ca)}, capture_output=True, text=True)
    assert taken.returncode == 0, taken.stderr
    # Neither the API nor an instance says anything without it.
    plain = pymongo.MongoClient(uri.replace("&tls=true", ""), serverSelectionTimeoutMS=1500)
    with pytest.raises(ServerSelectionTimeoutError):
        plain.admin.command("ping")
    with pytest.raises(ServerSelectionTimeoutError):
        pymongo.MongoClient(uri, serverSelectionTimeoutMS=1500).admin.command("ping")
    run(["curl", "--silent", "--fail", "--cacert", authority.ca, f"https://127.0.0.1:{world.server_port}/livez"])
    # Another certificate, while it runs; one that is no good changes nothing.
    assert b"first" in serial(world)
    files.write_text("nonsense")
    time.sleep(1.5)
    assert b"first" in serial(world)
    files.write_text(authority.issue("second"))
    until(lambda: b"second" in serial(world), "the new certificate to be shown")
    again = pymongo.MongoClient(uri, tlsCAFile=str(authority.ca), serverSelectionTimeoutMS=10_000)
    assert content(again) == wanted
    again.shop.items.delete_many({"_id": {"$lt": 1000}})
    snapshot = world.snapshot()
    wanted = content(again)
    again.shop.items.delete_many({})
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(again) == wanted


def test_clients_of_the_api_prove_who_they_are_where_that_is_asked_for(fresh, authority, tmp_path):
    world, _ = started(fresh, authority, tmp_path, tls_client_ca_file=authority.ca)
    stranger = authority.context()
    pair = tmp_path / "client.pem"
    pair.write_text(authority.issue("client"))
    world.tls.load_cert_chain(pair)
    world.start()
    assert world.call("GET", "/groups")["totalCount"] >= 1
    world.tls = stranger
    with pytest.raises((ssl.SSLError, urllib.error.URLError, OSError)):
        world.call("GET", "/groups")
    # Instances ask for a password, as ever.
    world.tls = authority.context()
    world.tls.load_cert_chain(pair)
    world.create_instance()
    world.create_user()
    client = pymongo.MongoClient(world.uri(), tlsCAFile=str(authority.ca), serverSelectionTimeoutMS=10_000)
    client.shop.items.insert_one({})
    world.snapshot()


def test_files_that_cannot_be_used_are_told(fresh, tmp_path):
    for text, told in [("nonsense", "cannot be used"), (None, "cannot be used")]:
        files = tmp_path / "server.pem"
        if text:
            files.write_text(text)
        else:
            files.unlink()
        world = fresh(tls_certificate_key_file=files)
        with pytest.raises(AssertionError, match=told):
            world.start()
