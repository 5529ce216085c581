"""What Prometheus reads; the rules and the dashboard that are made of it."""

import json
import os
import re
import subprocess
import time
import urllib.request

import pytest
from test_cli import logged_in
from world import CLIENTS, TOP, until

PROMTOOL = CLIENTS / "bin" / "promtool"
RULES = TOP / "deploy" / "prometheus"
DASHBOARD = TOP / "deploy" / "grafana" / "tidemark.json"


@pytest.fixture(scope="module", autouse=True)
def is_there():
    if not PROMTOOL.exists():
        reason = "skipped: there is no promtool here; scripts/install-clients promtool fetches Debian's"
        assert os.environ.get("CI") != "true", reason
        print(reason)
        pytest.skip(reason)


def promtool(*arguments, stdin=None):
    done = subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, input=stdin, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def exposition(world):
    with urllib.request.urlopen(f"http://127.0.0.1:{world.server_port}/metrics") as answer:
        return answer.read().decode()


def values(text):
    """Metrics by their name, each with its labels and value."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"(\w+)(\{.*\})? (\S+)", line).groups()
        labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
        found.setdefault(name, []).append((labels, float(value)))
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a server tells after a snapshot, a restore, a drill and one that failed, and when it was asked."""
    from world import World

    world = World().start()
    shell = logged_in(world, tmp_path_factory.mktemp("home"))
    world.create_instance("shop")
    world.create_user()
    client = world.client("shop")
    client.shop.orders.insert_many([{"_id": n, "text": "x" * 100} for n in range(1_000)])
    began = time.time()
    snapshot = world.snapshot("shop")["id"]
    shell.run("restores", "create", "shop", "--snapshot", snapshot, "--yes", "--wait")
    shell.run("drill", "shop")
    world.wait_idle("shop")
    yield exposition(world), began, world.group
    world.close()


def test_jobs_instances_and_vault_are_told_as_prometheus_wants_it(told):
    text, began, group = told
    promtool("check", "metrics", stdin=text)
    found = values(text)
    ended = {(labels["kind"], labels["outcome"]): value for labels, value in found["tidemark_jobs_ended_total"]}
    assert ended[("snapshot", "completed")] >= 1 and ended[("restore", "completed")] == 1 and ended[("drill", "proven")] == 1
    assert ended[("snapshot", "failed")] == ended[("restore", "failed")] == ended[("drill", "failed")] == 0
    where = {"instance": "shop", "project": group}
    [(labels, newest)] = found["tidemark_instance_newest_snapshot_timestamp_seconds"]
    assert labels == where and began - 1 <= newest <= time.time()
    [(_, proven)] = found["tidemark_instance_last_proven_restore_timestamp_seconds"]
    [(_, through)] = found["tidemark_instance_captured_through_timestamp_seconds"]
    assert proven >= newest - 1 and abs(through - time.time()) < 120
    [(_, logical)] = found["tidemark_instance_logical_bytes"]
    [(labels, stored)] = found["tidemark_vault_stored_bytes"]
    assert logical > 100_000 and 0 < stored < logical and labels == {}
    [(_, lag)] = found["tidemark_instance_capture_lag_seconds"]
    assert 0 <= lag < 120
    counts = {labels["kind"]: value for labels, value in found["tidemark_job_duration_seconds_count"]}
    assert counts["restore"] == 1 and counts["drill"] == 1 and counts["snapshot"] >= 1
    within = [value for labels, value in found["tidemark_job_duration_seconds_bucket"] if labels["kind"] == "restore"]
    assert within == sorted(within) and within[-1] == 1
    assert found["tidemark_catalog_up"] == [({}, 1)] and found["tidemark_leases_lost_total"] == [({}, 0)]
    states = {labels["state"]: value for labels, value in found["tidemark_instances"]}
    assert states["IDLE"] + states["UPDATING"] == 1
    requests = {labels["operation"]: value for labels, value in found["tidemark_api_requests_total"]}
    assert requests["createGroupServerlessInstance"] == 1


def test_the_alert_rules_fire_when_they_should():
    assert "11 rules found" in promtool("check", "rules", RULES / "tidemark.rules.yml")
    promtool("test", "rules", RULES / "tidemark.rules.test.yml")


def test_rules_and_dashboard_ask_for_what_there_is(told):
    text, *_ = told
    # In a bucket only.
    there = set(re.findall(r"^# TYPE (\w+)", text, re.M)) | {"tidemark_vault_requests_total"}
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [variable["query"] for variable in dashboard["templating"]["list"]]
    expressions.append((RULES / "tidemark.rules.yml").read_text())
    asked = {re.sub("_bucket$", "", name) for text in expressions for name in re.findall(r"\btidemark_[a-z_]+", text)}
    assert asked and asked <= there, asked - there
    documented = set(re.findall(r"`(tidemark_\w+)`", (TOP / "docs" / "metrics.md").read_text()))
    assert there == documented, there ^ documented
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            rules = {"groups": [{"name": "x", "rules": [{"record": "x", "expr": target["expr"].replace("$project", ".*").replace("$instance", ".*")}]}]}
            promtool("check", "rules", "/dev/stdin", stdin=json.dumps(rules))
