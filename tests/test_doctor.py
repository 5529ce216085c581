"""`tidemark doctor` finds what is wrong on a server's machine, and says how to mend it."""

import json
import os
import socket

from test_cli import DIFFERS, Shell


def look(shell, world, code=0, *arguments):
    listen = f"127.0.0.1:{world.server_port}"
    done = shell.run("doctor", "--data-dir", world.data, "--listen", listen, "--json", *arguments, code=code)
    found = json.loads(done.stdout)["findings"]
    assert all("mend" in finding for finding in found if finding["verdict"] != "well"), found
    return {finding["about"]: finding for finding in found if finding["verdict"] == "ill"}, found


def test_what_is_wrong_is_found_with_how_to_mend_it(fresh, tmp_path):
    world = fresh().start()
    shell = Shell(tmp_path)
    world.create_instance("shop")
    ill, found = look(shell, world)
    assert ill == {} and {"server", "folder", "space", "clock", "key", "vault", "catalog", "ports"} <= {f["about"] for f in found}
    # Vault and databases on one disk are named as a risk.
    [vault] = [finding for finding in found if finding["about"] == "vault"]
    assert vault["verdict"] == "doubtful" and "one disk" in vault["found"] and "vault copy" in vault["mend"]
    os.chmod(world.data / "bootstrap.json", 0o644)
    ill, _ = look(shell, world, DIFFERS)
    assert "chmod 600" in ill["rights"]["mend"]
    os.chmod(world.data / "bootstrap.json", 0o600)
    world.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", world.server_port))
        taken.listen()
        ill, _ = look(shell, world, DIFFERS)
        assert "--listen" in ill["ports"]["mend"]
    (world.data / "vault.key").rename(tmp_path / "copy")
    ill, _ = look(shell, world, DIFFERS)
    assert "copy of the key" in ill["key"]["mend"] and "vault" in ill
    (tmp_path / "copy").rename(world.data / "vault.key")
    assert look(shell, world)[0] == {}
    text = shell.run("doctor", "--data-dir", world.data).stdout
    assert "ok    folder" in text and "look  vault" in text, text
