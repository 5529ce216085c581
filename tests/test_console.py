"""The console: a person's way through it in a real browser in each language, and what attackers send."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import pymongo
import pytest
import requests
from test_alerts import Hook
from test_cli import Shell
from world import CLIENTS, PASSWORD, until

ROOT = pathlib.Path(__file__).parent.parent
STORY = ROOT / "interop" / "console" / "story.mjs"
CHROMIUM = shutil.which("chromium")


@pytest.fixture
def browser():
    if CHROMIUM is None:
        reason = "skipped: there is no chromium here; scripts/install-clients browser says how to install it"
        assert os.environ.get("CI") != "true", reason
        print(reason)
        pytest.skip(reason)


@pytest.fixture
def world(request, fresh, tmp_path):
    hook = Hook()
    config = tmp_path / "tidemark.toml"
    config.write_text(f'[[alerts]]\nname = "ops"\nkind = "json"\nurl = "{hook.url()}"\n')
    world = fresh("--config", str(config)).start()
    if not getattr(request, "param", None) == "empty":
        world.create_instance("shop")
        world.create_user()
    return world


def base(world):
    return f"http://127.0.0.1:{world.server_port}"


class Browser:
    """A browser of somebody who speaks a language, kept between the steps of a story."""

    def __init__(self, world, folder, locale, **settings):
        self.environment = os.environ | {
            "BASE_URL": base(world), "LOCALE": locale, "CHROMIUM": CHROMIUM, "CONSOLE_CLIENTS": str(CLIENTS / "console"),
            "STATE": str(folder / "state.json"), "SHOTS": str(folder), "NAME": world.bootstrap["publicKey"],
            "SECRET": world.bootstrap["privateKey"], "INSTANCE": "shop", "TARGET": "shop"} | settings

    def do(self, step, status=(), **settings):
        done = subprocess.run(["node", str(STORY), step], capture_output=True, text=True, timeout=180,
                              env=self.environment | settings)
        assert done.returncode == 0, done.stdout + done.stderr
        answer = json.loads(done.stdout.splitlines()[-1])
        assert "failed" not in answer, answer
        assert answer["violations"] == [], answer["violations"]
        # A page that answers with another status is told in the browser's console as well.
        errors = [error for error in answer["errors"] if not any(f"status of {code}" in error for code in status)]
        assert errors == [], errors
        return answer


@pytest.mark.parametrize("world", ["empty"], indirect=True)
@pytest.mark.parametrize("locale,lang,fleet", [("en-US", "en", "Fleet"), ("ko-KR", "ko", "전체 현황"), ("ja-JP", "ja", "全体の状況")])
def test_yesterdays_orders_come_back_in_a_browser(world, browser, tmp_path, locale, lang, fleet):
    someone = Browser(world, tmp_path, locale, USER="app", PASSWORD=PASSWORD)
    found = someone.do("signIn")
    assert found["lang"] == lang and fleet in found["heading"], found
    address = someone.do("begin")["address"]
    client = pymongo.MongoClient(address.replace("mongodb://", f"mongodb://app:{PASSWORD}@"))
    client.shop.orders.insert_many([{"_id": n, "item": f"thing {n}"} for n in range(2_000)])
    assert someone.do("snapshot")["snapshots"] >= 2
    client.shop.orders.drop()
    client.shop.later.insert_one({})
    found = someone.do("restore", status=[422])
    assert found["dropped"] == ["shop.later"] and found["state"] and found["stayed"], found
    assert client.shop.orders.count_documents({}) == 2_000 and client.shop.list_collection_names() == ["orders"]
    world.wait_idle("shop")
    found = someone.do("drill")
    assert found["rows"] == 1 and found["jobs"] == 1, found
    found = someone.do("pick")
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    assert re.fullmatch(form, found["first"]) and re.fullmatch(form, found["closer"]), found
    client.shop.orders.delete_many({"_id": {"$in": [1, 2, 3]}})
    client.shop.orders.update_one({"_id": 0}, {"$set": {"item": "another"}})
    found = someone.do("documents")
    # Of three there is one, and it is different.
    assert [line.split()[0] for line in found["numbers"][-2:]] == ["0", "1"], found
    assert sorted(client.shop.orders.distinct("_id"))[:4] == [0, 1, 2, 4]
    assert client.shop.orders.find_one(0)["item"] == "thing 0"
    found = someone.do("schedule", status=[422])
    assert "often keep 7 days" in found["refused"] and len(found["next"]) == 2, found
    assert found["lines"].splitlines() == ["every 6 hours keep 7 days", "cron 30 18 * * MON-FRI keep 2 weeks"]
    shown = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/instances/shop/schedule")[1]
    assert (shown["time"], shown["timeZone"], shown["drills"][0]["frequency"]) == ("03:15", "Asia/Seoul", "weekly"), shown
    found = someone.do("access", status=[422])
    assert found["left"] == 0 and len(found["secret"]) == 36 and "reader" in found["refused"], found
    assert {"API_KEY_CREATED", "DATABASE_USER_ADDED"} & set(found["events"]), found
    found = someone.do("instances", status=[422])
    assert "a-second-one" in found["refused"], found
    assert someone.do("problem", status=[404])["status"] == 404
    assert someone.do("language") == {"ko": ["ko", "전체 현황 Project 0"], "ja": ["ja", "全体の状況 Project 0"],
                                      "en": ["en", "Fleet Project 0"], "errors": [], "violations": []}
    assert "/sign-in?next=" in someone.do("signOut")["url"]
    keep = os.environ.get("TIDEMARK_WRITE_IMAGES")
    if keep:
        for shot in tmp_path.glob("*.png"):
            shutil.copy(shot, pathlib.Path(keep) / f"{shot.stem}-{lang}.png")


def test_pages_work_in_the_dark_and_on_a_narrow_screen(world, browser, tmp_path):
    someone = Browser(world, tmp_path, "ko-KR", SCHEME="dark", WIDTH="360")
    someone.do("signIn")
    someone.do("snapshot")
    world.client("shop").shop.orders.insert_one({})
    someone.do("restore", status=[422])
    world.wait_idle("shop")
    someone.do("drill")


def test_everything_works_without_scripts(world, browser, tmp_path):
    someone = Browser(world, tmp_path, "en-US", SCRIPTS="off")
    world.client("shop").shop.orders.insert_one({"_id": 1})
    someone.do("signIn")
    someone.do("snapshot")
    world.client("shop").shop.orders.drop()
    someone.do("restore", status=[422])
    assert world.client("shop").shop.orders.count_documents({}) == 1
    world.wait_idle("shop")
    someone.do("drill")
    someone.do("pick")


class Visitor(requests.Session):
    """Somebody without a browser."""

    def __init__(self, world, name=None, secret=None):
        super().__init__()
        self.base = base(world)
        self.trust_env = False
        self.signed = self.post(self.base + "/sign-in", data={
            "name": name or world.bootstrap["publicKey"], "secret": secret or world.bootstrap["privateKey"]},
            allow_redirects=False)

    def page(self, path, **arguments):
        return self.get(self.base + path, allow_redirects=False, **arguments)

    def csrf(self, path):
        return re.search(r'name="csrf" value="([0-9a-f]+)"', self.page(path).text)[1]

    def fill(self, path, form, **arguments):
        return self.post(self.base + path, data=form, allow_redirects=False, **arguments)


def test_who_is_not_signed_in_sees_nothing_and_wrong_secrets_wait(world):
    project = f"/projects/{world.group}"
    for path in ("/", project, project + "/instances/shop", project + "/instances/shop/timeline.svg", project + "/jobs"):
        answer = requests.get(base(world) + path, allow_redirects=False)
        assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in?next=%2F"), path
    for path in (project + "/instances/shop/snapshots", project + "/instances/shop/restore", "/sign-out"):
        answer = requests.post(base(world) + path, allow_redirects=False)
        assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in"), path
    visitor = Visitor(world, secret="wrong")
    assert visitor.signed.status_code == 422 and not visitor.cookies and "wrong" not in visitor.signed.text
    assert Visitor(world, name="<script>").signed.text.count("<script>") == 0
    begun = time.monotonic()
    statuses = [Visitor(world, secret=f"guess {n}").signed.status_code for n in range(10)]
    assert statuses == [422] * 10 and time.monotonic() - begun > 1, "guesses are answered late"
    # A cookie that somebody made up is nobody.
    for made_up in ("0" * 64, "' OR 1=1 --", ""):
        answer = requests.get(base(world) + project, cookies={"tidemark_session": made_up}, allow_redirects=False)
        assert answer.status_code == 303


def test_a_session_ends_with_its_time_its_key_and_everywhere(fresh):
    world = fresh("--dev").start()
    visitor, other = Visitor(world), Visitor(world)
    cookie = visitor.signed.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie, cookie
    project = f"/projects/{world.group}"
    assert visitor.page(project).status_code == 200
    # The records do not hold what the browser shows.
    token = visitor.cookies["tidemark_session"]
    if not os.environ.get("TIDEMARK_TEST_POSTGRES"):
        kept = (world.data / "catalog.sqlite").read_bytes() + (world.data / "catalog.sqlite-wal").read_bytes()
        assert token.encode() not in kept
    assert visitor.fill("/sign-out", {"csrf": visitor.csrf(project)}).status_code == 303
    assert requests.get(base(world) + project, cookies={"tidemark_session": token}, allow_redirects=False).status_code == 303
    assert other.page(project).status_code == 200
    third = Visitor(world)
    other.fill("/sign-out", {"csrf": other.csrf(project), "everywhere": "yes"})
    assert third.page(project).status_code == 303
    # Idle for half an hour.
    idle = Visitor(world)
    world.raw("POST", "/api/tidemark/v1/dev/clock", {"advanceSeconds": 29 * 60})
    assert idle.page(project).status_code == 200
    world.raw("POST", "/api/tidemark/v1/dev/clock", {"advanceSeconds": 31 * 60})
    assert idle.page(project).status_code == 303
    # A key that is taken away takes its sessions with it.
    world.token = None
    key = world.call("POST", f"/groups/{world.group}/apiKeys", {"desc": "a person", "roles": ["GROUP_READ_ONLY"]})
    person = Visitor(world, key["publicKey"], key["privateKey"])
    assert person.page(project).status_code == 200
    world.call("DELETE", f"/groups/{world.group}/apiKeys/{key['id']}")
    assert person.page(project).status_code in (303, 404)


def test_forms_of_others_are_refused(world):
    visitor = Visitor(world)
    path = f"/projects/{world.group}/instances/shop"
    csrf = visitor.csrf(path)
    before = len(world.call("GET", world.instance_path("shop") + "/backup/snapshots")["results"])
    for form, headers in [
        ({}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": csrf[:-1]}, {}),
        ({"csrf": csrf}, {"Origin": "https://evil.example"}),
        ({"csrf": csrf}, {"Sec-Fetch-Site": "cross-site"}),
    ]:
        answer = visitor.fill(path + "/snapshots", form, headers=headers)
        assert answer.status_code == 403, (form, headers)
    # One session's form is not another's.
    assert visitor.fill(path + "/snapshots", {"csrf": Visitor(world).csrf(path)}).status_code == 403
    assert requests.post(base(world) + "/sign-in", data={"name": "a", "secret": "b"},
                         headers={"Origin": "https://evil.example"}).status_code == 403
    assert len(world.call("GET", world.instance_path("shop") + "/backup/snapshots")["results"]) == before
    assert visitor.fill(path + "/snapshots", {"csrf": csrf}).status_code == 303
    # Nobody is sent to another site after signing in.
    for target in ("https://evil.example", "//evil.example", "/\\evil.example"):
        answer = visitor.fill("/language", {"language": "ko", "next": target})
        assert answer.headers["location"] == "/", target


def test_rights_are_those_of_the_api(world):
    path = f"/projects/{world.group}/instances/shop"
    key = world.call("POST", f"/groups/{world.group}/apiKeys", {"desc": "a reader", "roles": ["GROUP_READ_ONLY"]})
    reader = Visitor(world, key["publicKey"], key["privateKey"])
    text = reader.page(path).text
    assert "/snapshots" not in text and "/restore" not in text, text
    csrf = reader.csrf(path)
    assert reader.page(path + "/restore").status_code == 403
    for what in ("/snapshots", "/drills", "/restore"):
        answer = reader.fill(path + what, {"csrf": csrf, "confirm": "shop", "target": "shop"})
        assert answer.status_code == 403 and "GROUP_" in answer.text, what
    # What they may not see is not there.
    other = world.call("POST", "/groups", {"name": "Other", "orgId": world.bootstrap["orgId"]})
    assert reader.page(f"/projects/{other['id']}").status_code == 404
    assert reader.page("/projects/" + "0" * 24).status_code == 404


def test_what_changes_access_needs_the_rights_of_the_api_and_the_session_s_form(world):
    project = f"/projects/{world.group}"
    key = world.call("POST", f"/groups/{world.group}/apiKeys", {"desc": "a reader", "roles": ["GROUP_READ_ONLY"]})
    manager = world.call("POST", f"/groups/{world.group}/apiKeys", {"desc": "a manager", "roles": ["GROUP_ACCESS_MANAGER"]})
    reader = Visitor(world, key["publicKey"], key["privateKey"])
    csrf = reader.csrf(project)
    forms = [("/access", {"do": "add-key", "name": "x", "role": "GROUP_OWNER"}),
             ("/access", {"do": "add-account", "name": "x", "role": "GROUP_OWNER"}),
             ("/access", {"do": "add-user", "name": "x", "password": PASSWORD, "role": "atlasAdmin"}),
             ("/access", {"do": "remove-key", "id": key["id"]}), ("/access", {"do": "remove-user", "id": "app"}),
             ("/instances", {"name": "x"}), ("/instances/shop/remove", {"confirm": "shop"}),
             ("/instances/shop/schedule", {"time": "00:00", "window": "7", "snapshots": "daily keep 1 days"}),
             ("/instances/shop/schedule", {"do": "reset"})]
    for path, form in forms:
        assert reader.fill(project + path, form).status_code == 403, (path, form)
        answer = reader.fill(project + path, form | {"csrf": csrf})
        assert answer.status_code in (403, 409, 422), (path, form, answer.status_code)
    # Nobody gives more than they have.
    other = Visitor(world, manager["publicKey"], manager["privateKey"])
    form = {"csrf": other.csrf(project), "do": "add-key", "name": "x", "role": "GROUP_OWNER"}
    answer = other.fill(project + "/access", form)
    assert answer.status_code == 422 and "privateKey" not in answer.text and 'role="alert"' in answer.text, answer.text
    names = [key["desc"] for key in world.call("GET", f"/groups/{world.group}/apiKeys")["results"]]
    assert sorted(names) == sorted(set(names)) and "x" not in names, names
    assert [user["username"] for user in world.call("GET", f"/groups/{world.group}/databaseUsers")["results"]] == ["app"]
    assert world.call("GET", world.instance_path("shop"))["stateName"] == "IDLE"
    # What there is not, and what cannot be.
    owner = Visitor(world)
    csrf = owner.csrf(project)
    for path, form, status in [
        ("/access", {"do": "nothing"}, 404), ("/access", {"do": "remove-key", "id": "0" * 24}, 422),
        ("/access", {"do": "add-user", "name": "", "password": "", "role": ""}, 422),
        ("/access", {"do": "add-key", "name": "<script>alert(1)</script>", "role": "<script>"}, 422),
        ("/instances", {"name": "<script>alert(1)</script>"}, 422), ("/instances/shop/remove", {"confirm": "shopp"}, 409),
        ("/instances/shop/schedule", {"time": "3", "window": "7"}, 422),
        ("/instances/shop/schedule", {"time": "03:00", "window": "0"}, 422),
        ("/instances/shop/schedule", {"time": "03:00", "window": "7", "zone": "<script>alert(1)</script>"}, 422),
        ("/instances/shop/schedule", {"time": "03:00", "window": "7", "snapshots": "<script>alert(1)</script>"}, 422),
    ]:
        answer = owner.fill(project + path, form | {"csrf": csrf})
        assert answer.status_code == status and "<script>alert" not in answer.text, (path, form, answer.status_code)
    # A manager of access gives what they have, and accounts are for owners.
    text = other.page(project + "/access").text
    assert "GROUP_OWNER" not in text and "add-key" in text and "add-account" not in text and "GROUP_READ_ONLY" in text
    # Who may not set a schedule is shown none that is not in force.
    assert "<textarea" not in reader.page(project + "/instances/shop/schedule").text
    # A name with a dash is the same in events.
    world.create_instance("a-b")
    owner.fill(project + "/instances/a-b/schedule", {"csrf": csrf, "time": "03:00", "window": "7", "snapshots": "daily keep 2 days"})
    owner.fill(project + "/instances/a-b/remove", {"csrf": csrf, "confirm": "a-b"})
    events = world.call("GET", f"/groups/{world.group}/events?clusterNames=a-b")["results"]
    assert {"CPS_SNAPSHOT_SCHEDULE_UPDATED_AUDIT"} < {event["eventTypeName"] for event in events}, events
    # What was done is an event of the project, with who did it.
    assert owner.fill(project + "/access", {"csrf": csrf, "do": "add-account", "name": "a program", "role": "GROUP_READ_ONLY"}).status_code == 200
    assert "SERVICE_ACCOUNT" in owner.page(project + "/events").text


def test_nothing_that_somebody_wrote_becomes_markup(world):
    visitor = Visitor(world)
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
    client = world.client("shop")
    client.shop[evil.replace(".", "")].insert_one({"_id": evil, "text": evil})
    world.call("POST", world.instance_path("shop") + "/backup/snapshots", {"description": evil})
    path = f"/projects/{world.group}/instances/shop"
    until(lambda: "state completed" in visitor.page(path).text, "the snapshot to be shown")
    world.wait_idle("shop")
    quoted = requests.utils.quote(evil)
    for where in (path, path + f"/restore?moment={quoted}&namespaces={quoted}&target={quoted}&snapshot={quoted}",
                  path + f"/restore/plan?moment={quoted}", f"/sign-in?next={quoted}", f"/projects/{quoted}",
                  path + f"/restore/plan?moment=2020-01-01T00:00:00&namespaces={quoted}"):
        answer = visitor.page(where)
        assert "<script>alert" not in answer.text and "<img src=x" not in answer.text, where
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy, policy
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
    snapshot = world.call("GET", world.instance_path("shop") + "/backup/snapshots")["results"][0]["id"]
    plan = visitor.page(path + f"/restore/plan?snapshot={snapshot}").text
    assert "&#60;script&#62;alert" in plan or "&lt;script&gt;alert" in plan, plan
    # A job that fails says why, with what somebody wrote.
    answer = visitor.fill(path + "/restore", {"csrf": visitor.csrf(path), "target": "shop", "confirm": "shop",
                                              "snapshot": snapshot, "namespaces": f"shop.x{evil}"})
    assert "<script>alert" not in visitor.page(answer.headers.get("location", path)).text
    # Nothing is loaded from elsewhere.
    for where in (path, "/sign-in"):
        assert not re.search(r'(src|href|action)="(https?:)?//', visitor.page(where).text)


def test_a_plan_that_cannot_be_done_is_told_and_nothing_happens(world):
    visitor = Visitor(world)
    path = f"/projects/{world.group}/instances/shop"
    csrf = visitor.csrf(path)
    for query, words in [("", "Say a moment"), ("moment=yesterday", "no moment"), ("moment=2020-01-01T00:00:00", "cannot be restored"),
                         ("snapshot=nonsense", "no such complete"), (f"snapshot={'0' * 24}", "no such complete"),
                         (f"snapshot={'0' * 24}&namespaces=admin.x", "cannot be restored so"),
                         (f"snapshot={'0' * 24}&target=nothing", "no such")]:
        answer = visitor.page(f"{path}/restore/plan?{query}")
        assert answer.status_code == 422 and words in answer.text, (query, answer.status_code)
    assert visitor.fill(path + "/restore", {"csrf": csrf, "target": "shop", "confirm": "shop"}).status_code == 422
    assert world.call("GET", world.instance_path("shop") + "/backup/restoreJobs")["results"] == []
    for method, where, status in [("PUT", path, 404), ("DELETE", path, 404), ("POST", path, 403), ("GET", path + "/nothing", 404),
                                  ("GET", path + "/jobs/" + "0" * 24, 404), ("GET", path + "/drills/nonsense", 404)]:
        assert visitor.request(method, visitor.base + where).status_code == status, (method, where)


def test_a_service_account_signs_in_too(world, tmp_path):
    b = world.bootstrap
    visitor = Visitor(world, b["clientId"], b["clientSecret"])
    assert visitor.page(f"/projects/{world.group}").status_code == 200
    # What was done is on record with who did it.
    shell = Shell(tmp_path)
    shell.run("login", "--data-dir", world.data)
    assert PASSWORD not in visitor.page(f"/projects/{world.group}/instances/shop").text


def test_why_something_failed_is_said_in_the_reader_s_language(world):
    world.client("shop").shop.orders.insert_many({"_id": n} for n in range(100))
    taken = world.snapshot("shop")
    world.stop()
    packs = [pack for pack in (world.data / "vault" / "packs").rglob("*") if pack.is_file()]
    assert packs
    for pack in packs:
        pack.unlink()
    world.start()
    visitor = Visitor(world)
    project = f"/projects/{world.group}"
    path = project + "/instances/shop"
    form = {"csrf": visitor.csrf(path), "snapshot": taken["id"], "target": "shop", "confirm": "shop"}
    job = visitor.fill(path + "/restore", form).headers["location"]
    until(lambda: "state failed" in visitor.page(job).text, "the job to fail")
    shown = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/instances/shop/restoreJobs/{job.split('/')[-1]}")[1]
    assert (shown["state"], shown["cause"]) == ("failed", "vaultDamaged"), shown
    for language, words in [("ko", "볼트의 일부가 손상되었거나 없습니다"), ("ja", "ボールトの一部が破損しているか"),
                            ("en", "Something in the vault is damaged")]:
        text = visitor.page(job, headers={"Accept-Language": language}).text
        assert words in text and 'lang="en">' in text, language
        # So is what the API refuses.
        answer = visitor.fill(project + "/instances", {"csrf": form["csrf"], "name": "shop"}, headers={"Accept-Language": language})
        taken_already = {"ko": "같은 이름이 이미 있습니다", "ja": "同じ名前のものがすでにあります", "en": "There is one of this name already"}
        assert answer.status_code == 422 and taken_already[language] in answer.text
    world.wait_idle("shop")


def test_a_key_is_made_once_and_removed_for_good(world):
    visitor = Visitor(world)
    path = f"/projects/{world.group}/access"

    def marked():
        return re.search(r'name="once" value="([0-9a-f]+)"', visitor.page(path).text)[1]

    for what, operation, one in [("add-key", "apiKeys", "delete-key"), ("add-account", "serviceAccounts", "delete-account")]:
        form = {"csrf": visitor.csrf(path), "once": marked(), "do": what, "name": "a robot", "role": "GROUP_READ_ONLY"}
        # The page with the secret is loaded again, or somebody clicks twice.
        cookies = dict(visitor.cookies)
        send = lambda _: requests.post(visitor.base + path, data=form, cookies=cookies, allow_redirects=False)  # noqa: B023, E731
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(send, range(4)))
        assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422]
        [made] = [answer.text for answer in answers if answer.status_code == 200]
        assert 'class="done" role="status"' in made
        assert all("was sent before" in answer.text for answer in answers if answer.status_code == 422)
        listed = world.call("GET", f"/groups/{world.group}/{operation}")
        named = [item for item in listed.get("results", listed) if "a robot" in (item.get("desc"), item.get("name"))]
        assert len(named) == 1, named
        # The form beside the secret is another one.
        once = re.search(r'name="once" value="([0-9a-f]+)"', made)[1]
        assert visitor.fill(path, form | {"once": once}).status_code == 200
        id = named[0].get("clientId") or named[0]["id"]
        assert visitor.fill(path, {"csrf": form["csrf"], "do": one, "id": id}).status_code == 422, "nobody said that they are sure"
        assert id in str(world.call("GET", f"/orgs/{world.bootstrap['orgId']}/{operation}"))
        assert visitor.fill(path, {"csrf": form["csrf"], "do": one, "id": id, "sure": "yes"}).status_code == 303
        listed = world.call("GET", f"/orgs/{world.bootstrap['orgId']}/{operation}")
        assert id not in str(listed), "it is gone from the organization too"
    # Who does not own the organization is not offered that, and may not.
    key = world.call("POST", f"/groups/{world.group}/apiKeys", {"desc": "an owner", "roles": ["GROUP_OWNER"]})
    owner = Visitor(world, key["publicKey"], key["privateKey"])
    assert "delete-key" not in owner.page(path).text and "remove-key" in owner.page(path).text
    refused = owner.fill(path, {"csrf": owner.csrf(path), "do": "delete-key", "id": key["id"], "sure": "yes"})
    assert refused.status_code == 422 and owner.page(path).status_code == 200, "the key is as it was"


def test_what_is_switched_off_is_not_offered(fresh):
    world = fresh(server_sunset="enforce").start()
    visitor = Visitor(world)
    page = visitor.page(f"/projects/{world.group}").text
    assert 'value="flex"' in page and 'value="serverless"' not in page
    answer = visitor.fill(f"/projects/{world.group}/instances", {"csrf": visitor.csrf(f"/projects/{world.group}"), "name": "old", "view": "serverless"})
    assert answer.status_code == 422 and "Make a flex cluster instead" in answer.text
