"""Another key for a vault that is in use: what older keys sealed stays readable, is sealed anew, and then they go."""

import shutil
import subprocess
import urllib.request

import pytest

from test_deployments import connect, engine, own, ports  # noqa: F401
from world import BINARY, content, until


def keys(world, *arguments, code=0):
    command = [BINARY, "keys", *arguments, "--data-dir", world.data]
    if "catalog" in world.settings:
        command += ["--catalog", world.settings["catalog"]]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=90)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def is_sealed_anew(world):
    return "sealed with its newest key" in world.log_text()


def restart(world):
    assert world.stop() == 0
    world.start()


def test_the_key_of_a_server_is_rotated_and_the_old_one_retired(fresh, engine, tmp_path):  # noqa: F811
    world = fresh().start()
    world.create_instance()
    world.create_user()
    outside, _ = engine()
    connect(outside).shop.items.insert_many({"_id": n} for n in range(100))
    own(world, "", "POST", {"name": "outside", "connectionString": outside})
    world.wait_idle("outside")
    client = world.client()
    client.shop.items.insert_many({"_id": n, "text": f"{n} " * 40} for n in range(5_000))
    wanted, snapshot = content(client), world.snapshot()
    of_outside = world.snapshot("outside")
    old = (world.data / "vault.key").read_text()
    assert "there is no older key" in keys(world, "retire")

    first_token, link = world.token, download_link(world, snapshot)
    told = keys(world, "rotate")
    assert "vault.key was written" in told and "keys retire" in told
    assert (world.data / "vault.key").stat().st_mode & 0o777 == 0o600
    # The server that runs goes on with the key that it has.
    assert "no server was started with the newest key" in keys(world, "retire", code=1)
    client.shop.items.delete_many({"_id": {"$lt": 1_000}})
    moment = client.admin.command("hello")["lastWrite"]["opTime"]["ts"]
    at_moment = content(client)
    restart(world)
    # What was signed before holds until its end, and what is signed now is signed with another key.
    second_token = world.new_token()
    for token in (first_token, second_token):
        status, _, _ = world.raw("GET", "/api/atlas/v2/groups", headers={"Authorization": f"Bearer {token}"})
        assert status == 200
    with urllib.request.urlopen(link) as answer:
        assert answer.status == 200
    keys(world, "rotate")
    restart(world)
    for token, expected in ((first_token, 401), (second_token, 200)):
        status, _, _ = world.raw("GET", "/api/atlas/v2/groups", headers={"Authorization": f"Bearer {token}"})
        assert status == expected
    world.token = second_token
    until(lambda: is_sealed_anew(world), "the vault to be sealed anew")
    assert "are gone from it" in until(lambda: retired(world), "the older key not to be needed")
    new = (world.data / "vault.key").read_text()
    assert old.strip() not in new and "tidemark-vault-names-1" in new

    restart(world)
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(world.client()) == wanted
    world.wait_restored(world.restore("pointInTime", oplogTs=moment.time, oplogInc=moment.inc))
    assert content(world.client()) == at_moment
    connect(outside).shop.items.delete_many({})
    world.wait_restored(world.restore("automated", "outside", "outside", snapshotId=of_outside["id"]), "outside")
    assert connect(outside).shop.items.count_documents({}) == 100
    before = packs(world)
    world.snapshot()
    assert packs(world) - before < 200_000, "what is stored already is found under its name"
    world.stop()
    verify = [BINARY, "vault", "verify", "--data-dir", world.data]
    assert "everything is whole" in subprocess.run(verify, capture_output=True, text=True, check=True).stdout
    (world.data / "vault.key").write_text(old)
    with pytest.raises(AssertionError, match="was made with another key"):
        world.start()
    (world.data / "vault.key").write_text(new.splitlines()[0] + "\n")
    with pytest.raises(AssertionError, match="is not a vault key file"):
        world.start()


def download_link(world, snapshot):
    job = world.restore("download", snapshotId=snapshot["id"])
    return world.wait_job(job["id"])["deliveryUrl"][0]


def packs(world):
    return sum(file.stat().st_size for file in (world.data / "vault" / "packs").iterdir())


def retired(world):
    """What was said once the older keys are gone."""
    command = [BINARY, "keys", "retire", "--data-dir", world.data]
    if "catalog" in world.settings:
        command += ["--catalog", world.settings["catalog"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    return done.stderr if done.returncode == 0 else None


def test_a_server_that_is_killed_while_it_seals_anew_goes_on(fresh):
    world = fresh().start()
    world.create_instance()
    world.create_user()
    client = world.client()
    for batch in range(3):
        client.shop[f"items{batch}"].insert_many({"_id": n, "text": str(n) * 300} for n in range(3_000))
        world.snapshot()
    wanted = content(client)
    last = world.snapshot()
    keys(world, "rotate")
    restart(world)
    # Whenever it is killed, everything is readable, and the next start goes on.
    for _ in range(3):
        world.kill()
        world.start()
    until(lambda: is_sealed_anew(world), "the vault to be sealed anew")
    until(lambda: retired(world), "the older key not to be needed")
    restart(world)
    world.wait_restored(world.restore("automated", snapshotId=last["id"]))
    assert content(world.client()) == wanted


def test_a_key_is_prepared_once_and_a_variable_is_told_what_to_hold(fresh):
    world = fresh().start()
    world.stop()
    keys(world, "rotate", "--prepare")
    assert "prepared already" in keys(world, "rotate", "--prepare", code=1)
    text = (world.data / "vault.key").read_text()
    assert text.count("tidemark-vault-key-1") == 2 and " 2 prepared\n" in text
    world.start()
    world.stop()
    # It seals with the first key as long as nobody rotates.
    first = text.splitlines()[0] + "\n"
    shutil.copy(world.data / "vault.key", world.folder / "prepared.key")
    (world.data / "vault.key").write_text(first)
    world.start()
    world.stop()
    command = [BINARY, "keys", "rotate", "--data-dir", world.data]
    environment = {"TIDEMARK_VAULT_KEY": (world.folder / "prepared.key").read_text()}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[0].endswith(" 2") and "TIDEMARK_VAULT_KEY" in done.stderr
    assert (world.data / "vault.key").read_text() == first, "the file is not what is used"
    world.environment["TIDEMARK_VAULT_KEY"] = done.stdout
    world.start()
