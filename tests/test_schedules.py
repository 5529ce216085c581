"""Schedules of any instance: by hours, days and cron expressions in a zone, and drills by themselves."""

import json
from datetime import datetime, timedelta, timezone

import pytest
from test_cli import CONFLICT, DENIED, NOT_FOUND, USAGE, logged_in
from world import until

SEOUL = timezone(timedelta(hours=9))


@pytest.fixture
def shell(fresh, tmp_path):
    """A shell, and a world whose clock can be advanced, with an instance `shop`."""
    world = fresh("--dev").start()
    shell = logged_in(world, tmp_path)
    world.create_instance("shop")
    world.create_user()
    world.client("shop").shop.orders.insert_many([{"_id": n} for n in range(100)])
    return shell, world


def advance(world, hours):
    path = "/api/tidemark/v1/dev/clock"
    status, answer, _ = world.raw("POST", path, {"advanceSeconds": round(hours * 3600)})
    assert status == 200, answer
    # The one before may be over by now.
    world.token = world.new_token()
    return datetime.fromisoformat(answer["now"])


def snapshots(shell):
    return [each for each in shell.json("snapshots", "list", "shop")["results"] if each["state"] == "completed"]


def test_a_schedule_in_a_zone_is_set_followed_and_taken_away(shell):
    shell, world = shell
    found = shell.json("schedule", "show", "shop")
    assert not found["isOwn"] and found["policy"]["snapshotInterval"] == 6 * 3600
    found = shell.json("schedule", "set", "shop", "--snapshots", "daily keep 7 days",
                       "--snapshots", "cron 30 18 * * MON-FRI keep 2 weeks", "--time", "03:15", "--zone", "Asia/Seoul",
                       "--window", "3")
    assert found["isOwn"] and (found["time"], found["timeZone"], found["restoreWindowDays"]) == ("03:15", "Asia/Seoul", 3)
    due = datetime.fromisoformat(found["nextSnapshot"]).astimezone(SEOUL)
    assert (due.hour, due.minute) in [(3, 15), (18, 30)]
    assert shell.json("schedule", "show", "shop")["snapshots"] == [
        {"frequency": "daily", "interval": 1, "keep": {"unit": "days", "value": 7}},
        {"cron": "30 18 * * MON-FRI", "keep": {"unit": "weeks", "value": 2}},
    ]
    text = shell.run("schedule", "show", "shop").stdout
    assert "daily keep 7 days" in text and "cron 30 18 * * MON-FRI keep 2 weeks" in text and "03:15 Asia/Seoul" in text
    # There is one at once, as there was none; the next one comes in its time and not before.
    until(lambda: len(snapshots(shell)) == 1, "the first snapshot")
    now = advance(world, 0)
    advance(world, (due - now).total_seconds() / 3600 - 0.05)
    until(lambda: world.answers("/readyz"), "the clock to be seen")
    assert len(snapshots(shell)) == 1
    advance(world, 0.1)
    until(lambda: len(snapshots(shell)) == 2, "the snapshot that is due")
    newest = snapshots(shell)[0]
    taken = datetime.fromisoformat(newest["createdAt"])
    assert timedelta(0) <= taken - due < timedelta(minutes=10)
    kept = datetime.fromisoformat(newest["expiresAt"]) - taken
    assert kept in [timedelta(days=7), timedelta(days=14)]
    found = shell.json("schedule", "reset", "shop", "--yes")
    assert not found["isOwn"]


def test_an_empty_schedule_takes_no_snapshots(shell):
    shell, world = shell
    until(lambda: len(snapshots(shell)) == 1, "the first snapshot")
    shell.json("schedule", "set", "shop")
    advance(world, 48)
    until(lambda: shell.json("schedule", "show", "shop")["snapshots"] == [], "the schedule")
    world.snapshot("shop")
    assert len(snapshots(shell)) == 2


def test_drills_are_done_by_themselves_and_their_checks_asked(shell, tmp_path):
    shell, world = shell
    checks = tmp_path / "checks.json"
    checks.write_text(json.dumps([{"name": "all", "namespace": "shop.orders", "count": 100}]))
    found = shell.json("schedule", "set", "shop", "--snapshots", "daily keep 7 days", "--drills", "cron 0 4 * * *",
                       "--drills", "weekly on sun random", "--checks", checks, "--zone", "Asia/Tokyo")
    assert [(each["point"], len(each["checks"])) for each in found["drills"]] == [("newest", 1), ("random", 1)]
    assert datetime.fromisoformat(found["nextDrill"])
    until(lambda: len(snapshots(shell)) == 1, "the first snapshot")
    assert shell.json("drill", "list", "shop")["totalCount"] == 0
    advance(world, 25)

    def proven():
        drills = shell.json("drill", "list", "shop")["results"]
        return [drill for drill in drills if drill["state"] == "proven"]

    until(proven, "a drill by the schedule")
    [drill, *others] = proven()
    assert drill["isScheduled"] and len(others) <= 1
    report = json.loads(shell.run("drill", "report", "shop", drill["id"]).stdout)["report"]
    assert [check["holds"] for check in report["checks"]] == [True]
    assert shell.json("instances", "show", "shop")["lastProvenRestore"]


def test_drills_that_are_due_together_are_all_done(shell):
    shell, world = shell
    shell.json("schedule", "set", "shop", "--snapshots", "daily keep 7 days", "--drills", "cron 0 4 * * *",
               "--drills", "cron 30 5 * * * random")
    until(lambda: len(snapshots(shell)) == 1, "the first snapshot")
    advance(world, 25)

    def proven():
        return [drill for drill in shell.json("drill", "list", "shop")["results"] if drill["state"] == "proven"]

    until(lambda: len(proven()) == 2, "one after the other")


def test_schedules_that_cannot_be_are_refused(shell):
    shell, world = shell
    line = ("--snapshots", "daily keep 7 days")
    for arguments, words in [
        (("--snapshots", "daily"), "kept"),
        (("--snapshots", "often keep 7 days"), "no time"),
        (("--snapshots", "every 5 hours keep 7 days"), "hours are"),
        (("--snapshots", "cron 99 * * * * keep 7 days"), "99"),
        (("--snapshots", "cron 0 0 30 2 * keep 7 days"), "never"),
        (("--snapshots", "daily keep 0 days"), "kept"),
        ((*line, "--zone", "Asia/Atlantis"), "Atlantis"),
        ((*line, "--time", "25:00"), "time"),
        ((*line, "--window", "0"), "window"),
        ((*line, "--checks", "/nowhere"), "--drills"),
    ]:
        done = shell.run("schedule", "set", "shop", *arguments, code=USAGE)
        assert words in done.stderr, (arguments, done.stderr)
    assert not shell.json("schedule", "show", "shop")["isOwn"]
    shell.run("schedule", "show", "nothing", code=NOT_FOUND)
    key = shell.json("keys", "add")
    reader = {"TIDEMARK_SERVER": world.bootstrap["baseUrl"], "TIDEMARK_PROJECT": world.group,
              "TIDEMARK_PUBLIC_KEY": key["publicKey"], "TIDEMARK_PRIVATE_KEY": key["privateKey"]}
    shell.run("schedule", "show", "shop", **reader)
    shell.run("schedule", "set", "shop", *line, code=DENIED, **reader)
    shell.run("schedule", "reset", "shop", "--yes", code=DENIED, **reader)
