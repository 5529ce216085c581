"""How-tos and *Operating*: their commands do what the pages say when they are pasted."""

import re
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import pymongo
from pages import alone, blocks, paste  # noqa: F401
from test_alerts import Hook
from test_cli import logged_in, shell, world  # noqa: F401
from test_deployments import engine, ports  # noqa: F401
from world import BINARY, CLIENTS, TOP, until

DOCS = TOP / "docs"
HOW_TO = DOCS / "how-to"


def typed_by(shell, **more):
    """The environment of somebody who has the binary and the clients at hand."""
    path = f"{BINARY.parent}:{CLIENTS}/python/bin:{CLIENTS}/bin:{shell.environment['PATH']}"
    return shell.environment | {"PATH": path} | {name: str(value) for name, value in more.items()}


def fill(client):
    client.shop.orders.insert_many([{"_id": n, "price": 10 * n} for n in range(1, 6)])


def test_the_readme_works_when_it_is_pasted_and_says_the_same_in_each_language(alone, tmp_path):
    port, environment = alone
    pages = [TOP / name for name in ("README.md", "README.ko.md", "README.ja.md")]
    assert blocks(pages[0]) == blocks(pages[1]) == blocks(pages[2])
    [two, first, *rest] = [text for kind, text in blocks(pages[0]) if kind == "sh"]
    assert two.startswith("./run ") and "\n./test " in two
    # The binary of the tests stands for the one that would be built here.
    first = first.replace("cargo build --release --target-dir target\nPATH=\"$PWD/target/release:$PATH\"\n", "")
    page = tmp_path / "page.md"
    page.write_text("".join(f"```sh\n{text}```\n" for text in [first, *rest]))
    printed = paste(page, environment, [("127.0.0.1:8080", f"127.0.0.1:{port}")])
    assert "deliveryType" in printed[-1], printed


def test_the_main_job_proves_three_restores_and_its_lines_can_be_repeated(alone, tmp_path):
    port, environment = alone
    command = [sys.executable, TOP / "demo" / "run.py", "--binary", BINARY, "--tools", CLIENTS / "bin", "--once"]
    run = [*map(str, command), "--port", str(port), "--data-dir", str(tmp_path / "run")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=180, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^.* {2}yes$", done.stdout, re.M)) == 3, done.stdout
    # What is after `$`, and what goes on below it, in a shell that has seen nothing else.
    lines = re.findall(r"^[$] (.*\n(?:> .*\n)*)", done.stdout, re.M)
    script = "".join(re.sub(r"^> ", "", line, flags=re.M) for line in lines).replace(str(tmp_path / "run"), str(tmp_path / "again"))
    ready = f"until curl --silent --fail http://127.0.0.1:{port}/readyz > /dev/null; do sleep 0.1; done\n"
    script = f"set -e -m\ntrap 'kill %1' EXIT\nmkdir {tmp_path}/again\n" + script.replace("eval ", ready + "eval ", 1)
    again = subprocess.run(["bash"], input=script, capture_output=True, text=True, timeout=180, env=environment, cwd=TOP)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("every document and index is as ") == 3, again.stdout


def test_a_replica_set_is_attached_as_the_page_says(world, shell, engine):  # noqa: F811
    uri, _ = engine()
    printed = paste(HOW_TO / "attach-a-replica-set.md", typed_by(shell), [
        ("mongodb://tidemark:choose-a-password@db1.example.net,db2.example.net/?replicaSet=rs0", uri)])
    assert "shop  reachable" in printed[0], printed
    assert shell.json("instances", "show", "shop")["lastProvenRestore"], printed


def test_one_collection_comes_back_as_the_page_says(world, shell):
    world.create_instance("shop")
    world.create_user()
    client = world.client("shop")
    fill(client)
    shell.run("snapshots", "create", "shop", "--wait")
    # The page begins after the moment; the mistake is made by whoever needs the page.
    first = "GOOD=$(date -u +%Y-%m-%dT%H:%M:%SZ)\n"
    mistake = (f'{sys.executable} -c "import pymongo, os; c = pymongo.MongoClient(os.environ[\'URI\']);'
               " c.shop.orders.delete_many({'_id': {'\\$gt': 2}}); c.shop.later.insert_one({'_id': 1})\"\n")
    uri = world.uri("shop")
    paste(HOW_TO / "bring-back-one-collection.md", typed_by(shell, URI=uri),
          [(first, first + "sleep 2\n" + mistake), ("diff shop \"$GOOD\" now --ns shop.orders", 'diff shop "$GOOD" now --ns shop.orders || test $? = 8')])
    # The last line of the page undid the restore before it: what had been there then is there.
    assert client.shop.orders.count_documents({}) == client.shop.orders_before.count_documents({}) == 5
    assert client.shop.later.count_documents({}) == 1
    assert world.client("rehearsal").shop.orders.count_documents({}) == 5


def test_what_was_in_atlas_moves_as_the_page_says(world, shell, engine, tmp_path):  # noqa: F811
    uri, _ = engine()
    pymongo.MongoClient(uri).shop.orders.insert_many([{"_id": n} for n in range(5)])
    world.create_user()
    paste(HOW_TO / "move-from-atlas.md", typed_by(shell, OLD_URI=uri, DATA_DIR=world.data), [("shop.archive.gz", str(tmp_path / "shop.archive.gz"))])
    assert world.client("shop").shop.orders.count_documents({}) == 5


def test_the_page_about_ci_works(alone, tmp_path):
    port, environment = alone
    environment["RUNNER_TEMP"] = str(tmp_path)
    printed = paste(HOW_TO / "test-in-ci.md", environment, [("127.0.0.1:8080", f"127.0.0.1:{port}")])
    assert "604800" in printed[1] and "one" in printed[2] and "shop" not in printed[2], printed


def test_a_schedule_is_set_as_the_page_says(world, shell):
    world.create_instance("shop")
    [set_it] = paste(DOCS / "schedules.md", typed_by(shell))
    assert "cron 30 18 * * MON-FRI keep 2 weeks" in set_it and "03:15 Asia/Seoul" in set_it and "monthly on 1 random" in set_it
    # The last line took it away again.
    assert "by the server's configuration" in shell.run("schedule", "show", "shop").stdout


def test_looking_works_as_the_page_says(world, shell):
    world.create_instance("shop")
    world.create_user()
    client = world.client("shop")
    client.shop.orders.insert_many({"_id": n, "customer": n % 50, "qty": n % 7} for n in range(4_700, 4_800))
    first = shell.json("snapshots", "create", "shop", "--wait")["id"]
    moment = datetime.now(timezone.utc) + timedelta(seconds=1)
    time.sleep(2.1)
    client.shop.orders.update_one({"_id": 4_711}, {"$set": {"qty": 99}})
    client.shop.orders.delete_many({"_id": {"$gt": 4_790}})
    second = shell.json("snapshots", "create", "shop", "--wait")["id"]
    at, differs = f'"{moment:%Y-%m-%dT%H:%M:%SZ}"', "|| test $? = 8"
    opened = "tidemark snapshots open shop"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    printed = paste(DOCS / "looking.md", typed_by(shell), [
        ('"yesterday 18:00"', at), ('"2 hours ago"', at), ("6b08d50c30975efdb000000a", first), ("6b08d52c30975efdb000000b", second),
        (f"diff shop {first} {second}", f"diff shop {first} {second} {differs}"), ("--ns shop.orders --documents\n", f"--ns shop.orders --documents {differs}\n"),
        ("--on-conflict replace", "--on-conflict replace --yes --wait"), ("--into shop.recovered", "--into shop.recovered --yes --wait"),
        # They serve until somebody ends them.
        (f"{opened} {second}", f"timeout --preserve-status --signal INT 5 {opened} {second} || test $? = 130"),
        (f"{opened} --at", f"timeout --preserve-status --signal INT 5 {opened} --at"), (":27099\n", ":27099 || test $? = 130\n"), ("127.0.0.1:27099", f"127.0.0.1:{port}")])
    found, different, came_back, served = printed
    assert found.count('"$numberInt":"4711"') == 3 and found.count("4712") == 1, found
    assert "shop.orders" in different and '"99"' in different, different
    assert client.shop.orders.find_one(4_711)["qty"] == 4_711 % 7, came_back
    assert client.shop.recovered.count_documents({}) == 2, came_back
    assert served.count("mongodb://") == 2 and f"127.0.0.1:{port}" in served, served


def test_drills_work_as_the_page_says(world, shell, tmp_path):
    world.create_instance("shop")
    world.create_user()
    client = world.client("shop")
    client.shop.orders.insert_many({"_id": n, "qty": 1} for n in range(4_711))
    client.shop.accounts.insert_one({"balance": 1})
    shell.run("snapshots", "create", "shop", "--wait")
    moment = datetime.now(timezone.utc) + timedelta(seconds=1)
    time.sleep(2.1)
    page = DOCS / "drills.md"
    [checks] = re.findall(r"^```json\n(.*?)^```$", page.read_text(), re.M | re.S)
    (tmp_path / "checks.json").write_text(checks)
    [printed] = paste(page, typed_by(shell), [
        ('"yesterday 18:00"', f'"{moment:%Y-%m-%dT%H:%M:%SZ}"'), ("checks.json", str(tmp_path / "checks.json")),
        (" report.json", f" {tmp_path}/report.json")])
    assert "4,711" in printed and "the sum" in printed, printed


def test_alerts_and_the_audit_file_work_as_the_pages_say(fresh, tmp_path):
    hook = Hook()
    [sections] = re.findall(r"^```toml\n(.*?)^```$", (DOCS / "alerts.md").read_text(), re.M | re.S)
    (tmp_path / "slack-url").write_text(hook.url("/slack"))
    (tmp_path / "mail-password").write_text("secret")
    config = tmp_path / "tidemark.toml"
    config.write_text(sections.replace("/etc/tidemark", str(tmp_path)))
    [line] = [text for kind, text in blocks(DOCS / "audit.md") if kind == "sh"]
    assert line == "tidemark serve --server-audit-file /var/log/tidemark/audit.jsonl\n"
    audit = tmp_path / "audit.jsonl"
    world = fresh("--config", str(config), server_audit_file=str(audit)).start()
    [printed] = paste(DOCS / "alerts.md", typed_by(logged_in(world, tmp_path)))
    assert [row.split()[:2] for row in printed.splitlines()[1:4]] == [["ops", "slack"], ["phone", "telegram"], ["mail", "mail"]], printed
    assert len(hook.bodies("/slack")) == 1 and "sent on ops" in printed
    world.create_instance("shop")
    until(lambda: '"createServerlessInstance"' in audit.read_text() or '"shop"' in audit.read_text(), "the audit file")


def test_vaults_are_looked_after_as_the_page_says(world, shell, tmp_path):
    world.create_instance("shop")
    shell.run("snapshots", "create", "shop", "--wait")
    printed = paste(DOCS / "vaults.md", typed_by(shell), [
        ("--data-dir DIR", f"--data-dir {world.data}"), ("s3://offsite/tidemark", str(tmp_path / "second"))])
    assert "everything is there" in printed[1], printed
    assert "(common)  whole" in printed[0], printed


def test_operating_works_as_the_page_says(world, shell, tmp_path):
    world.create_instance("shop")
    world.create_user()
    fill(world.client("shop"))
    shell.run("snapshots", "create", "shop", "--wait")
    (tmp_path / "elsewhere").mkdir()
    # It is a child of the test, which has to take note of its end.
    threading.Thread(target=world.process.wait, daemon=True).start()
    printed = paste(DOCS / "operating.md", typed_by(
        shell, DATA_DIR=world.data, SECOND_PLACE=tmp_path / "second", KEY_COPY=tmp_path / "elsewhere" / "vault.key",
        NEW_DIR=tmp_path / "new", MOVED_DIR=tmp_path / "moved", SERVER_PID=world.process.pid))
    assert "1 snapshot" in printed[4] or "shop" in printed[4], printed[4]
    assert "publicKey" in printed[-1] or "public" in printed[-1].lower(), printed[-1]


def test_every_link_of_the_manual_leads_somewhere():
    pages = [TOP / name for name in ("README.md", "README.ko.md", "README.ja.md", "CHANGELOG.md", "deploy/README.md")]
    pages += sorted(DOCS.rglob("*.md"))
    dead = []
    for page in pages:
        text = page.read_text()
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            found = (page.parent / file).resolve() if file else page
            if not found.exists():
                dead.append(f"{page.relative_to(TOP)}: {target}")
            elif anchor and found.suffix == ".md" and anchor not in anchors(found):
                dead.append(f"{page.relative_to(TOP)}: {target}")
    assert dead == []


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index():
    index = (DOCS / "README.md").read_text()
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    left_out = [page for page in pages if f"({page})" not in index and page != "README.md" and not page.startswith("adr/")]
    assert left_out == []
