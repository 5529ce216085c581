"""People are told what goes wrong: webhooks, e-mail, and when it is well again."""

import http.server
import json
import socketserver
import threading

import pytest
from test_cli import DENIED, FAILED, NOT_FOUND, logged_in
from world import until


class Hook(http.server.ThreadingHTTPServer):
    """Remembers what is sent; answers with `status`."""

    def __init__(self):
        self.got, self.status = [], 200
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path="/secret/path"):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def bodies(self, path="/secret/path"):
        return [body for at, body in self.got if at == path]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.status == 200:
            self.server.got.append((self.path, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server that remembers messages."""

    daemon_threads = allow_reuse_address = True

    def __init__(self):
        self.got = []
        super().__init__(("127.0.0.1", 0), Post)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Post(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 here\r\n")
        to = []
        while line := self.rfile.readline().decode().strip():
            word = line.split(":")[0].upper().split(" ")[0]
            if word == "RCPT":
                to.append(line)
            if word == "DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b"".join(iter(self.rfile.readline, b".\r\n")).decode()
                self.server.got.append((to, text))
            if word == "QUIT":
                return self.wfile.write(b"221 bye\r\n")
            self.wfile.write(b"250 fine\r\n")


@pytest.fixture
def hook():
    hook = Hook()
    yield hook
    hook.shutdown()


@pytest.fixture
def told(fresh, tmp_path, hook):
    """A world that tells a hook of each kind and a mailbox, and a shell."""
    mailbox = Mailbox()
    token = tmp_path / "url"
    token.write_text(hook.url("/json") + "\n")
    channels = "".join(
        f'[[alerts]]\nname = "{kind}"\nkind = "{kind}"\nurl = "{hook.url("/" + kind)}"\n{more}\n'
        for kind, more in [("slack", ""), ("discord", ""), ("telegram", 'chat = "-100"'), ("teams", 'least = "critical"')])
    config = tmp_path / "tidemark.toml"
    config.write_text(channels + f"""
[[alerts]]
name = "file"
kind = "json"
url_file = "{token}"

[[alerts]]
name = "mail"
kind = "mail"
host = "127.0.0.1"
port = {mailbox.server_address[1]}
security = "none"
from = "Tidemark <tidemark@example.org>"
to = ["ops@example.org", "Kim <kim@example.org>"]
""")
    world = fresh("--config", str(config)).start()
    shell = logged_in(world, tmp_path)
    yield world, shell, hook, mailbox
    mailbox.shutdown()


def fail_restore(world, shell):
    """A restore that fails for good: its documents meet others."""
    client = world.client("shop")
    snapshot = world.snapshot("shop")["id"]
    client.shop.orders.update_one({"_id": 1}, {"$set": {"n": 2}})
    path = f"/api/tidemark/v1/groups/{world.group}/instances/shop/restoreJobs"
    body = {"snapshotId": snapshot, "documents": {"namespace": "shop.orders", "filter": {}}}
    status, job, _ = world.raw("POST", path, body)
    assert status == 201, job
    return job["id"]


def test_a_job_that_fails_is_told_on_every_channel_in_its_words(told):
    world, shell, hook, mailbox = told
    world.create_instance("shop")
    world.create_user()
    world.client("shop").shop.orders.insert_one({"_id": 1, "n": 1})
    job = fail_restore(world, shell)
    [alert] = until(lambda: hook.bodies("/json"), "the alert")
    assert alert["kind"] == "restoreFailed" and alert["severity"] == "warning" and alert["instance"] == "shop"
    assert alert["project"] == world.group and "_id 1" in alert["text"] and alert["server"].startswith("http")
    assert "A restore of shop failed" in until(lambda: hook.bodies("/slack"), "Slack")[0]["text"]
    assert hook.bodies("/discord")[0]["content"].startswith("[WARNING]")
    assert hook.bodies("/telegram")[0]["chat_id"] == "-100"
    # What is not bad enough is not told there.
    assert hook.bodies("/teams") == []
    [(to, mail)] = until(lambda: mailbox.got, "the mail")
    assert len(to) == 2 and "Subject: [Tidemark] A restore of shop failed" in mail and "_id 1" in mail
    assert shell.json("restores", "show", "shop", job)["state"] == "failed"
    # It is well again, and that is told.
    snapshot = world.snapshot("shop")["id"]
    shell.run("restores", "create", "shop", "--snapshot", snapshot, "--yes", "--wait")
    last = until(lambda: [body for body in hook.bodies("/json") if body["severity"] == "resolved"], "that it is well")
    assert "A restore of shop is well again" in last[0]["title"]


def test_what_does_not_arrive_is_sent_again_also_after_a_crash(told):
    world, shell, hook, _ = told
    world.create_instance("shop")
    world.create_user()
    world.client("shop").shop.orders.insert_one({"_id": 1, "n": 1})
    hook.status = 503
    fail_restore(world, shell)
    until(lambda: "an alert is sent again" in world.log_text(), "a try")
    world.kill()
    hook.status = 200
    world.start()
    until(lambda: hook.bodies("/json") and hook.bodies("/slack"), "the alert")
    assert len(hook.bodies("/json")) == 1
    assert "/secret" not in world.log_text() and "/slack" not in world.log_text()
    # What was told is not told again.
    world.stop()
    world.start()
    world.create_user("other")
    assert len(hook.bodies("/json")) == 1


def test_a_channel_that_is_away_delays_no_other_and_nothing_is_told_twice(told):
    world, shell, hook, mailbox = told
    world.create_instance("shop")
    world.create_user()
    world.client("shop").shop.orders.insert_one({"_id": 1, "n": 1})
    hook.status = 503
    fail_restore(world, shell)
    until(lambda: len(mailbox.got) == 1, "the first mail")
    world.client("shop").shop.orders.update_one({"_id": 1}, {"$set": {"n": 1}})
    fail_restore(world, shell)
    until(lambda: len(mailbox.got) == 2, "the second mail")
    hook.status = 200
    until(lambda: len(hook.bodies("/json")) == 2, "both alerts")
    # Another record is looked at, and those before are not told again.
    world.create_user("other")
    snapshot = world.snapshot("shop")["id"]
    shell.run("restores", "create", "shop", "--snapshot", snapshot, "--yes", "--wait")
    until(lambda: any(body["severity"] == "resolved" for body in hook.bodies("/json")), "that it is well")
    assert [body["kind"] for body in hook.bodies("/json")] == ["restoreFailed", "restoreFailed", "restoreCompleted"]


def test_a_complaint_is_told_once_it_lasts_and_when_it_is_over(told):
    world, shell, hook, _ = told
    world.create_instance("shop")
    world.create_user()
    world.client("shop").shop.orders.insert_many([{"_id": n, "text": str(n) * 50} for n in range(2_000)])
    world.snapshot("shop")
    world.stop()
    [pack, *_] = sorted((world.data / "vault").rglob("*.pack")) or sorted((world.data / "vault" / "packs").rglob("*"))
    whole = pack.read_bytes()
    pack.write_bytes(b"x" * len(whole))
    world.start()
    complaint = until(lambda: [body for body in hook.bodies("/json") if body["kind"] == "complaint"], "the complaint")[0]
    assert complaint["severity"] in ("warning", "critical"), complaint


def test_channels_are_listed_and_tried(told):
    world, shell, hook, mailbox = told
    found = shell.json("alerts", "list")
    assert {each["name"] for each in found["results"]} == {"slack", "discord", "telegram", "teams", "file", "mail"}
    assert "/secret" not in json.dumps(found) and str(hook.server_port) not in json.dumps(found)
    shell.run("alerts", "test", "teams")
    [card] = hook.bodies("/teams")
    assert card["attachments"][0]["content"]["body"][0]["text"] == "This is a test"
    shell.run("alerts", "test", "mail")
    assert "This is a test" in mailbox.got[0][1]
    shell.run("alerts", "test", "nothing", code=NOT_FOUND)
    hook.status = 404
    done = shell.run("alerts", "test", "slack", code=FAILED)
    assert "404" in done.stderr and "/slack" not in done.stderr, done.stderr
    key = shell.json("keys", "add")
    reader = {"TIDEMARK_SERVER": world.bootstrap["baseUrl"], "TIDEMARK_PROJECT": world.group,
              "TIDEMARK_PUBLIC_KEY": key["publicKey"], "TIDEMARK_PRIVATE_KEY": key["privateKey"]}
    shell.run("alerts", "test", "teams", code=DENIED, **reader)


@pytest.mark.parametrize("section, words", [
    ('kind = "pager"\nurl = "https://x"', "pager"),
    ('kind = "slack"', "url"),
    ('kind = "telegram"\nurl = "https://x"', "chat"),
    ('kind = "slack"\nurl = "https://x"\nleast = "panic"', "panic"),
    ('kind = "mail"\nhost = "x"\nfrom = "nobody"\nto = ["a@b.c"]', "nobody"),
    ('kind = "mail"\nhost = "x"\nfrom = "a@b.c"', "to"),
    ('kind = "slack"\nurl_file = "/nowhere"', "/nowhere"),
])
def test_a_section_that_cannot_be_is_refused_at_the_start(fresh, tmp_path, section, words):
    config = tmp_path / "tidemark.toml"
    config.write_text(f'[[alerts]]\nname = "mine"\n{section}\n')
    world = fresh("--config", str(config))
    with pytest.raises(Exception):
        world.start()
    assert words in world.log_text() and "mine" in world.log_text(), world.log_text()
