"""How deployments are reached: what the driver does for us, tried through it."""

import contextlib
import os
import ssl

import pytest

import world as worlds
from front import Front, name_server
from test_deployments import certificates, connect, engine, fill, own, ports, started, tidemark  # noqa: F401
from world import PASSWORD, content, until


@contextlib.contextmanager
def front(*arguments, **options):
    front = Front(*arguments, **options)
    try:
        yield front
    finally:
        front.close()


def check(world, uri, client, *options):
    """A deployment that is reached so is protected and restored."""
    before = content(client)
    tidemark(world, "attach", "mine", "--uri", uri, *options)
    world.wait_idle("mine")
    snapshot = world.snapshot("mine")
    client.shop.items.delete_many({"_id": {"$lt": 100}})
    world.wait_restored(world.restore("automated", "mine", "mine", snapshotId=snapshot["id"]), "mine")
    # The record of the swap goes once the job is over.
    until(lambda: content(client) == before, "the data of the snapshot")


def test_messages_are_compressed_where_that_is_asked_for(fresh, engine):  # noqa: F811
    world = fresh().start()
    uri, _ = engine()
    port = int(uri.split(":")[3].split("/")[0])
    client = connect(uri)
    fill(client, 500)
    with front(port, compresses=True) as plain, front(port, compresses=True) as compressing:
        def through(front, more=""):
            return f"mongodb://admin:{PASSWORD}@127.0.0.1:{front.port}/?directConnection=true{more}"

        tidemark(world, "attach", "plain", "--uri", through(plain))
        assert plain.compressed == 0
        tidemark(world, "detach", "plain", "--yes")
        check(world, through(compressing, "&compressors=zstd,snappy,zlib"), client)
        assert compressing.compressed > 20, compressing.compressed


def test_who_logs_in_with_a_certificate_is_let_in(fresh, ports, tmp_path):  # noqa: F811
    world = fresh().start()
    certificates(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    tls.load_verify_locations(tmp_path / "ca.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    options = ("--tls-ca-file", tmp_path / "ca.pem", "--tls-certificate-key-file", tmp_path / "client.pem")
    with started("FerretDB on SQLite", ports) as behind:
        port = int(behind.split(":")[2].strip("/"))
        client = connect(behind)
        client.shop.items.insert_many([{"_id": n} for n in range(500)])
        with front(port, tls=tls) as served:
            uri = f"mongodb://127.0.0.1:{served.port}/?tls=true&directConnection=true"
            nobody = tidemark(world, "attach", "mine", "--uri", uri, *options, code=1)
            assert "log in first" in nobody, nobody
            assert served.logged_in == set()
            check(world, uri + "&authMechanism=MONGODB-X509&authSource=$external", client, *options)
            assert served.logged_in == {"client"}


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Servers of the test ask `127.77.0.1` for names."""
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("a DNS server on port 53 needs root")
        pytest.skip("a DNS server on port 53 needs root")
    (tmp_path / "resolv.conf").write_text("nameserver 127.77.0.1\n")
    wrapper = tmp_path / "tidemark"
    wrapper.write_text("#!/bin/sh\nexec unshare --mount sh -c "
                       f"'mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec {worlds.BINARY} \"$@\"' sh \"$@\"\n")
    wrapper.chmod(0o755)
    monkeypatch.setattr(worlds, "BINARY", wrapper)
    return "127.77.0.1"


def test_a_name_that_dns_leads_to_servers_is_followed(fresh, engine, names):  # noqa: F811
    world = fresh().start()
    uri, _ = engine()
    client = connect(uri)
    fill(client, 500)
    port = int(uri.split(":")[3].split("/")[0])
    srv = f"mongodb+srv://admin:{PASSWORD}@cluster.db.tidemark.test/?tls=false"
    unknown = tidemark(world, "attach", "mine", "--uri", srv, code=1)
    assert "cluster.db.tidemark.test" in unknown, unknown
    with name_server(names, port):
        check(world, srv, client)
        shown = own(world, "/mine")["address"]
        assert shown.startswith("mongodb+srv://cluster.db.tidemark.test"), shown
