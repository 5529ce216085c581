"""The command line, as a person and as a script use it."""

import json
import os
import pty
import re
import stat
import subprocess
import time
from datetime import datetime, timedelta, timezone

import jsonschema
import pytest
from world import BINARY, PASSWORD

FAILED, USAGE, UNREACHABLE, DENIED, NOT_FOUND, CONFLICT, UNSUCCESSFUL, DIFFERS, DECLINED = range(1, 10)


class Shell:
    """A user with a home folder of their own."""

    def __init__(self, home, **environment):
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEMARK_", "XDG_"))}
        self.environment = kept | {"HOME": str(home), "TZ": "Asia/Seoul"} | environment

    def run(self, *arguments, code=0, input=None, **environment):
        done = subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True, timeout=90,
                              input=input, env=self.environment | environment)
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *arguments, **environment):
        """What a command prints as JSON, once it is what its schema says."""
        answer = json.loads(self.run(*arguments, "--json", **environment).stdout)
        words = arguments[:1] if arguments[:2] == ("drill", "shop") else arguments[:2]
        schema = json.loads(self.run("schema", *words).stdout)
        jsonschema.Draft202012Validator(schema).validate(answer)
        return answer


def logged_in(world, home):
    """A shell of somebody who has logged in."""
    shell = Shell(home)
    shell.run("login", "--data-dir", world.data)
    return shell


@pytest.fixture
def world(fresh):
    return fresh().start()


@pytest.fixture
def shell(world, tmp_path):
    """Somebody who has logged in."""
    return logged_in(world, tmp_path)


def test_a_newcomer_protects_a_database_and_brings_a_moment_back(world, shell):
    assert "nothing is protected yet" in shell.run("instances", "list").stderr
    made = shell.json("instances", "create", "shop", "--wait")
    assert made["state"] == "IDLE" and made["view"] == "serverless"
    shell.json("users", "create", "me", TIDEMARK_USER_PASSWORD=PASSWORD)
    assert shell.json("users", "list")["results"][0]["username"] == "me"
    client = world.client("shop", user="me")
    client.shop.orders.insert_many([{"_id": n, "item": f"thing {n}"} for n in range(500)])
    taken = shell.json("snapshots", "create", "shop", "--wait", "--description", "before the sale")
    assert taken["state"] == "completed" and taken["sizeBytes"] > 10_000
    client.shop.orders.insert_one({"_id": "the last one"})
    time.sleep(1.1)
    moment = datetime.now(timezone.utc) - timedelta(seconds=0.5)
    time.sleep(1.1)
    client.shop.orders.delete_many({})
    client.shop.later.insert_one({})

    # The plan names what is written and what goes, and nothing is done.
    local = moment.astimezone(timezone(timedelta(hours=9)))
    said = local.strftime("%Y-%m-%d %H:%M:%S")
    plan = shell.json("restores", "plan", "shop", "--to", said)
    assert plan["dropped"] == ["shop.later"] and plan["namespaces"][0]["replaces"], plan
    text = shell.run("restores", "plan", "shop", "--to", said).stdout
    assert f"moment    {said} +09:00 (Asia/Seoul), {moment:%Y-%m-%dT%H:%M:%SZ}" in text, text
    assert "drop      shop.later" in text, text
    assert client.shop.later.count_documents({}) == 1
    # Without a yes nothing is done; the plan was shown.
    refused = shell.run("restores", "create", "shop", "--to", said, code=DECLINED)
    assert "drop      shop.later" in refused.stderr and "--yes" in refused.stderr and refused.stdout == ""
    assert client.shop.later.count_documents({}) == 1

    job = shell.json("restores", "create", "shop", "--to", said, "--yes", "--wait")
    assert job["state"] == "completed" and job["progress"]["documentsDone"] == 500, job["progress"]
    assert client.shop.orders.count_documents({}) == 501 and client.shop.list_collection_names() == ["orders"]
    assert shell.json("restores", "show", "shop", job["id"])["id"] == job["id"]
    assert [found["id"] for found in shell.json("restores", "list", "shop")["results"]] == [job["id"]]
    assert shell.json("restores", "watch", "shop", job["id"])["state"] == "completed"
    shell.run("restores", "cancel", "shop", job["id"], "--yes", code=CONFLICT)
    found = shell.json("instances", "show", "shop")
    assert found["restorable"] and found["newestSnapshot"] and found["connectionString"].startswith("mongodb://")
    assert [instance["name"] for instance in shell.json("instances", "list")["results"]] == ["shop"]


def test_snapshots_are_kept_longer_exported_and_removed(world, shell, tmp_path):
    shell.json("instances", "create", "shop", "--wait")
    first = shell.json("snapshots", "create", "shop", "--wait")
    second = shell.json("snapshots", "create", "shop", "--wait", "--retention-days", "3")
    kept = shell.json("snapshots", "keep", "shop", second["id"], "--days", "40")
    days = (datetime.fromisoformat(kept["expiresAt"]) - datetime.now(timezone.utc)).days
    assert days in (39, 40), kept
    kept = shell.json("snapshots", "keep", "shop", second["id"], "--until", "2031-02-03 04:05")
    assert kept["expiresAt"] == "2031-02-02T19:05:00Z", kept
    shell.run("snapshots", "keep", "shop", second["id"], "--until", "2001-02-03", code=USAGE)
    shell.run("snapshots", "keep", "shop", second["id"], code=USAGE)
    file = shell.json("snapshots", "download", "shop", second["id"], "--output", tmp_path / "a.gz")
    assert file["bytes"] == (tmp_path / "a.gz").stat().st_size > 0
    assert shell.json("snapshots", "show", "shop", first["id"])["progress"]["state"] == "completed"
    shell.run("snapshots", "delete", "shop", first["id"], code=DECLINED)
    assert shell.json("snapshots", "delete", "shop", first["id"], "--yes") == {"removed": first["id"]}
    listed = [found["id"] for found in shell.json("snapshots", "list", "shop")["results"]]
    assert second["id"] in listed and first["id"] not in listed
    shell.run("snapshots", "show", "shop", first["id"], code=NOT_FOUND)


def test_profiles_are_kept_for_their_owner_and_chosen_in_order(world, tmp_path):
    shell = Shell(tmp_path)
    refused = shell.run("instances", "list", code=USAGE)
    assert "tidemark login" in refused.stderr
    b = json.loads((world.data / "bootstrap.json").read_text())
    shell.run("login", "--server", b["baseUrl"], "--public-key", b["publicKey"], input=b["privateKey"] + "\n")
    file = tmp_path / ".config" / "tidemark" / "config.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and b["groupId"] in file.read_text()
    # A service account is a bearer; its profile is used where it is named.
    shell.run("login", "--profile", "robot", "--server", b["baseUrl"], "--client-id", b["clientId"],
              "--client-secret", b["clientSecret"])
    assert shell.json("instances", "list", TIDEMARK_PROFILE="robot") == {"results": []}
    known = shell.json("profiles", "list")["results"]
    assert [(p["profile"], p["isDefault"]) for p in known] == [("default", True), ("robot", False)]
    assert known[1]["caller"] == b["clientId"]
    assert b["privateKey"] not in shell.run("profiles", "list").stdout
    shell.run("profiles", "use", "robot")
    assert shell.json("profiles", "list")["results"][1]["isDefault"]
    # What is given counts more than the environment, and that more than the profile.
    shell.run("instances", "list", "--server", "http://127.0.0.1:9", "--public-key", "a", "--private-key", "b",
              code=UNREACHABLE)
    # Keys of a profile are not sent to another server.
    shell.run("instances", "list", "--server", "http://127.0.0.1:9", code=USAGE)
    shell.run("instances", "list", code=UNREACHABLE, TIDEMARK_SERVER="http://127.0.0.1:9",
              TIDEMARK_PUBLIC_KEY="a", TIDEMARK_PRIVATE_KEY="b")
    refused = shell.run("instances", "list", code=DENIED, TIDEMARK_PUBLIC_KEY="a", TIDEMARK_PRIVATE_KEY="b")
    assert "next:" in refused.stderr
    shell.run("instances", "list", "--profile", "nobody", code=USAGE)
    shell.run("logout", "--profile", "robot")
    shell.run("logout")
    assert shell.json("profiles", "list") == {"results": []}
    # Wrong keys are not remembered.
    shell.run("login", "--server", b["baseUrl"], "--public-key", "a", "--private-key", "b", code=DENIED)
    assert shell.json("profiles", "list") == {"results": []}


def test_projects_and_keys_are_made_and_removed(world, shell):
    first = shell.json("projects", "list")["results"][0]
    made = shell.json("projects", "create", "Second")
    refused = shell.run("instances", "list", "--project", "Third", code=NOT_FOUND)
    assert "projects list" in refused.stderr
    assert shell.json("instances", "list", "--project", "Second") == {"results": []}
    key = shell.json("keys", "add", "--project", "Second", "--description", "for the auditor")
    assert key["id"] in [found["id"] for found in shell.json("keys", "list", "--project", "Second")["results"]]
    auditor = {"TIDEMARK_SERVER": world.bootstrap["baseUrl"], "TIDEMARK_PUBLIC_KEY": key["publicKey"],
               "TIDEMARK_PRIVATE_KEY": key["privateKey"]}
    assert shell.json("instances", "list", **auditor, TIDEMARK_PROJECT="Second") == {"results": []}
    shell.run("instances", "create", "no", "--project", made["id"], code=DENIED, **auditor)
    shell.run("instances", "list", "--project", first["id"], code=DENIED, **auditor)
    shell.json("keys", "delete", key["id"], "--project", "Second", "--yes")
    account = shell.json("accounts", "add", "ci", "--project", "Second", "--role", "GROUP_BACKUP_MANAGER", "--hours", "24")
    assert account["roles"] == ["GROUP_BACKUP_MANAGER"] and account["secrets"][0]["secret"].startswith("mdb_sa_sk_")
    [found] = shell.json("accounts", "list", "--project", "Second")["results"]
    assert found["clientId"] == account["clientId"] and "secret" not in found["secrets"][0]
    program = ("--client-id", account["clientId"], "--server", f"http://127.0.0.1:{world.server_port}", "--project", "Second")
    shell.run("instances", "list", *program, TIDEMARK_CLIENT_SECRET=account["secrets"][0]["secret"])
    shell.run("accounts", "delete", account["clientId"], "--project", "Second", code=DECLINED)
    shell.json("accounts", "delete", account["clientId"], "--project", "Second", "--yes")
    assert shell.json("accounts", "list", "--project", "Second")["results"] == []
    shell.run("projects", "delete", "Second", code=DECLINED)
    assert shell.json("projects", "delete", "Second", "--yes") == {"removed": "Second"}


def test_what_cannot_be_is_said_with_what_to_do(world, shell):
    shell.json("instances", "create", "shop", "--wait")
    cases = [
        (("restores", "create", "shop"), USAGE, "--to"),
        (("restores", "create", "shop", "--to", "soon"), USAGE, "yesterday 18:00"),
        (("restores", "plan", "shop", "--to", "2020-01-01"), CONFLICT, "next:"),
        (("instances", "show", "nothing"), NOT_FOUND, "instances list"),
        (("instances", "create", "shop"), USAGE, "next:"),
        (("snapshots", "show", "shop", "0" * 24), NOT_FOUND, "next:"),
        (("restores", "show", "shop", "0" * 24), NOT_FOUND, "next:"),
        (("schema", "no", "thing"), USAGE, "lists the commands"),
        (("no-such-noun",), USAGE, "Usage"),
    ]
    for arguments, code, words in cases:
        done = shell.run(*arguments, code=code)
        assert words in done.stderr and done.stdout == "", (arguments, done.stderr)
    # Quiet is quiet: nothing but data and errors.
    done = shell.run("instances", "list", "--quiet")
    assert done.stderr == "" and "shop" in done.stdout
    assert shell.run("restores", "list", "shop", "--quiet").stderr == ""


def test_a_terminal_gets_colours_and_questions_and_a_pipe_does_not(world, shell):
    shell.json("instances", "create", "shop", "--wait")
    taken = shell.json("snapshots", "create", "shop", "--wait")
    assert "\x1b[" not in shell.run("snapshots", "show", "shop", taken["id"]).stdout

    def at_terminal(*arguments, typed=b"", **environment):
        parent, child = pty.openpty()
        process = subprocess.Popen([str(BINARY), *arguments], stdin=child, stdout=child, stderr=child,
                                   env=shell.environment | {"TERM": "xterm"} | environment)
        os.close(child)
        os.write(parent, typed)
        seen = b""
        while True:
            try:
                part = os.read(parent, 4096)
            except OSError:
                break
            seen += part
            if not part:
                break
        os.close(parent)
        return process.wait(30), seen.decode()

    _, colourful = at_terminal("snapshots", "show", "shop", taken["id"])
    assert "\x1b[32m" in colourful, colourful
    _, plain = at_terminal("snapshots", "show", "shop", taken["id"], NO_COLOR="1")
    assert "\x1b[" not in plain and "completed" in plain
    code, seen = at_terminal("snapshots", "delete", "shop", taken["id"], typed=b"no\n")
    assert code == DECLINED and "Type yes" in seen, seen
    code, seen = at_terminal("restores", "create", "shop", "--snapshot", taken["id"], "--wait", typed=b"yes\n")
    assert code == 0 and "Restore to shop?" in seen and re.search("completed", seen), seen


def test_completions_manual_pages_and_schemas_are_there(shell, tmp_path):
    for name, words in [("bash", "complete -F"), ("zsh", "#compdef tidemark"), ("fish", "complete -c tidemark"),
                        ("powershell", "Register-ArgumentCompleter")]:
        assert words in shell.run("completions", name).stdout, name
    script = shell.run("completions", "bash").stdout + "\nCOMP_WORDS=(tidemark rest); COMP_CWORD=1\n" \
        "_tidemark tidemark rest tidemark; echo \"${COMPREPLY[@]}\"\n"
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True)
    assert done.stdout.strip() == "restores", done.stdout + done.stderr
    shell.run("man", "--dir", tmp_path / "man")
    pages = {page.name for page in (tmp_path / "man").iterdir()}
    assert {"tidemark.1", "tidemark-restores-create.1", "tidemark-serve.1"} <= pages, pages
    assert "yesterday 18:00" in (tmp_path / "man" / "tidemark-restores-create.1").read_text()
    for command in shell.run("schema").stdout.splitlines():
        jsonschema.Draft202012Validator.check_schema(json.loads(shell.run("schema", *command.split()).stdout))
        shell.run(*command.split(), "--help")
