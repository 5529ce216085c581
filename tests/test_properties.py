"""Random requests made from our own published description: no 5xx, no answer that it does not allow."""

import subprocess

from world import ACCEPT, CLIENTS, PATIENCE_SECONDS

CONFIGURATION = """
base-url = "{base}"
headers = {{ Authorization = "Bearer {token}", User-Agent = "schemathesis/tests", Accept = "{accept}" }}
seed = 7
# With more, the parser of Python 3.11 can fail: its count of nested calls is not one per thread.
workers = 1

[parameters]
"path.groupId" = "{group}"
"path.orgId" = "{org}"
"path.clusterName" = "one"

[[operations]]
# They would end the world in which the others are tried; they have tests of their own.
include-operation-id = ["deleteGroup", "deleteOrg", "deleteGroupServerlessInstance", "deleteGroupFlexCluster"]
enabled = false

[[operations]]
# A random organization could ask for an access list, and shut the tests out.
include-operation-id = ["updateOrgSettings"]
enabled = false
"""
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_random_requests_get_answers_that_the_description_allows(world, tmp_path):
    path = tmp_path / "schemathesis.toml"
    settings = {
        "base": f"http://127.0.0.1:{world.port}",
        "token": world.new_token(),
        "accept": ACCEPT,
        "group": world.group,
        "org": world.bootstrap["orgId"],
    }
    path.write_text(CONFIGURATION.format(**settings))
    command = [
        CLIENTS / "python/bin/schemathesis",
        f"--config-file={path}",
        "run",
        f"http://127.0.0.1:{world.port}/api/atlas/v2/openapi.json",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=8",
        f"--checks={CHECKS}",
        "--suppress-health-check=all",
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=10 * PATIENCE_SECONDS, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-60000:] + done.stderr[-2000:]
    assert world.is_ready()
