"""What deploy/ has for containers: read as its own tools read it, and its environment understood by the server."""

import json
import os
import re
import subprocess
import time
import tomllib

import pytest
from s3 import CREDENTIALS, S3
from world import BINARY, CLIENTS, TOP, Ports

DEPLOY = TOP / "deploy"
CHART = DEPLOY / "helm" / "tidemark"
READER = CLIENTS / "bin" / "packages"
EVERYTHING = """
replicas: 3
vault: s3://backups/tidemark
vaultKeySecret: key
secretEnvironment: environment
publicUrl: https://backup.example.org
ingress: {enabled: true, className: nginx, host: backup.example.org, tlsSecret: certificate}
serviceMonitor: {enabled: true}
imagePullSecrets: [{name: registry}]
nodeSelector: {disk: fast}
tolerations: [{key: backup, operator: Exists}]
podAnnotations: {who: ops}
"""


def read(*arguments, code=0, **environment):
    done = subprocess.run([READER, *arguments], capture_output=True, text=True, timeout=60, env=os.environ | environment)
    assert done.returncode == code, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()] if code == 0 else done.stderr


def objects(values=""):
    return {(found["kind"], found["metadata"]["name"]): found for found in read("helm", CHART, values)}


@pytest.fixture
def served(tmp_path):
    """Starts the binary with the environment of a container and says whether it is ready."""
    running, ports = [], Ports()

    def serve(environment, config=""):
        port = ports.take()
        (tmp_path / "tidemark.toml").write_text(config)
        own = {
            "TIDEMARK_DATA_DIR": str(tmp_path / "data"), "TIDEMARK_SERVER__LISTEN": f"127.0.0.1:{port}",
            "TIDEMARK_INSTANCES__FIRST_PORT": str(ports.left[0]), "TIDEMARK_INSTANCES__LAST_PORT": str(ports.left[-1]),
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMARK_")}
        log = open(tmp_path / "log", "w")
        running.append(subprocess.Popen([BINARY, "serve", "--config", tmp_path / "tidemark.toml"], stdout=log, stderr=log,
                                        env=kept | environment | own))
        ready = [BINARY, "ready", "--server", f"http://127.0.0.1:{port}", "--wait", "30"]
        done = subprocess.run(ready, capture_output=True, text=True, timeout=60, env=kept)
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
        return done.stdout

    yield serve
    for process in running:
        process.terminate()
        process.wait(30)
    ports.close()


def environment_of(container):
    return {item["name"]: item["value"] for item in container["env"] if "value" in item}


def test_the_chart_is_one_that_helm_and_kubernetes_take():
    found = objects()
    pod = found["StatefulSet", "tidemark"]["spec"]["template"]["spec"]
    # A service called tidemark would give the pod variables that are no keys.
    assert pod["enableServiceLinks"] is False and pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    [container] = pod["containers"]
    limits = container["securityContext"]
    assert limits["readOnlyRootFilesystem"] and limits["capabilities"]["drop"] == ["ALL"] and not limits["allowPrivilegeEscalation"]
    # What needs mending must not keep people out, and the folder is the server's own.
    assert environment_of(container)["TIDEMARK_DATA_DIR"].startswith("/var/lib/tidemark/")
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz?traffic" and container["livenessProbe"]["httpGet"]["path"] == "/livez"
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/var/lib/tidemark", "/tmp"}
    environment = environment_of(container)
    span = int(environment["TIDEMARK_INSTANCES__LAST_PORT"]) - int(environment["TIDEMARK_INSTANCES__FIRST_PORT"]) + 1
    assert span == 8 == len([port for port in container["ports"] if port["name"].startswith("mongodb")])
    kept = found["StatefulSet", "tidemark"]["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert kept == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    # With everything that can be said.
    found = objects(EVERYTHING)
    assert found["StatefulSet", "tidemark"]["spec"]["replicas"] == 3
    assert ("Ingress", "tidemark") in found and ("PodDisruptionBudget", "tidemark") in found
    [container] = found["StatefulSet", "tidemark"]["spec"]["template"]["spec"]["containers"]
    assert environment_of(container)["TIDEMARK_VAULT__KEY_FILE"] == "/etc/tidemark-key/vault.key"


@pytest.mark.parametrize("values,words", [
    ("replicas: 2", "set vault"), ("{replicas: 2, vault: 's3://b'}", "vaultKeySecret"),
    ("{replicas: 2, vault: 's3://b', vaultKeySecret: k}", "TIDEMARK_CATALOG"), ("vault: /somewhere", "vault"),
    ("replica: 2", "replica"),
])
def test_the_chart_refuses_what_would_lose_backups(values, words):
    assert words in read("helm", CHART, values, code=1)


def test_the_server_understands_the_environment_of_the_chart(served):
    found = objects("publicUrl: https://backup.example.org")
    [container] = found["StatefulSet", "tidemark"]["spec"]["template"]["spec"]["containers"]
    config = found["ConfigMap", "tidemark"]["data"]["tidemark.toml"]
    assert tomllib.loads(config)["backup"]["snapshot_interval_minutes"] == "6h"
    environment = environment_of(container)
    environment = {name: value for name, value in environment.items() if name != "TIDEMARK_INSTANCES__HOST"}
    environment["TIDEMARK_INSTANCES__ADVERTISED_HOST"] = environment["TIDEMARK_INSTANCES__ADVERTISED_HOST"].replace("$(POD_NAME)", "tidemark-0")
    assert served(environment, config).startswith("ok")


def test_the_compose_file_is_one_that_docker_takes_and_the_server_understands(served, tmp_path):
    file = DEPLOY / "compose" / "compose.yaml"
    assert "POSTGRES_PASSWORD" in read("compose", file, code=1, VAULT_SECRET="x"), "there is no default for a secret"
    [project] = read("compose", file, POSTGRES_PASSWORD="a", VAULT_SECRET="b")
    services = project["services"]
    assert services["tidemark"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    environment = dict(services["tidemark"]["environment"])
    assert environment.pop("TIDEMARK_CATALOG") == "postgres://tidemark:a@postgres/tidemark"
    assert services["versitygw"]["environment"]["ROOT_SECRET_KEY"] == environment["AWS_SECRET_ACCESS_KEY"] == "b"
    # The services are elsewhere here, and the bucket has another name.
    (tmp_path / "s3").mkdir()
    store = S3("versitygw", tmp_path / "s3").start()
    try:
        vault = environment["TIDEMARK_VAULT"].replace("versitygw:7070", f"127.0.0.1:{store.port}").replace("s3://tidemark/", "s3://bucket/")
        assert served(environment | CREDENTIALS | {"TIDEMARK_VAULT": vault}).startswith("ok")
        assert any(path.is_file() for path in (tmp_path / "s3" / "buckets" / "bucket" / "vault").rglob("*"))
    finally:
        store.stop()


def test_the_image_says_what_the_server_understands(served):
    text = (DEPLOY / "container" / "Containerfile").read_text()
    [line] = re.findall(r"^ENV (.*)$", text, re.M)
    environment = dict(pair.split("=", 1) for pair in line.split())
    environment.pop("TIDEMARK_INSTANCES__HOST")
    assert served(environment).startswith("ok")
    [check] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", text, re.M)
    [_, *arguments] = json.loads(check)
    done = subprocess.run([BINARY, *arguments[:-1], "http://127.0.0.1:9"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3 and "does not answer" in done.stderr
    # What it copies is there.
    assert (TOP / "scripts" / "release").exists() and "target/static/tidemark" in text


def test_a_server_that_is_not_there_is_waited_for_no_longer_than_was_said():
    begun = time.monotonic()
    done = subprocess.run([BINARY, "ready", "--server", "http://127.0.0.1:9", "--wait", "1"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 3 and time.monotonic() - begun >= 1
