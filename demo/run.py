"""The main job as a transcript: every line after `$` (and `>`, where it goes on) can be repeated by hand, in the
order of the screen.

Starts a server, loads real data, takes a snapshot, destroys data, restores it by all three deliveries, and
compares every document after each. Ends with a table, or with an error if a comparison fails.
"""

import argparse
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 300

HELPERS = '''\
WHO=(--digest --user "$PUBLIC_KEY:$PRIVATE_KEY")
api() {
    curl --silent --show-error --fail-with-body "${WHO[@]}" -X "$1" "$BASE_URL/api/atlas/v2/groups/$GROUP_ID$2" \\
        --header "Accept: application/vnd.atlas.2023-02-01+json" ${3:+--header "Content-Type: application/json" --data "$3"}
}
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
wait_for() { until api GET "$1" | grep --quiet --extended-regexp "$2"; do sleep 0.2; done; }
world() { "$PYTHON" demo/world.py "$1"; }'''


def say(text=""):
    print(text, flush=True)


def heading(text):
    say(f"\n== {text}")


class Failure(Exception):
    pass


class Shell:
    """One bash that all lines are typed into."""

    END = "--- the line has ended: "

    def __init__(self):
        self.process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
            cwd=TOP, start_new_session=True,
        )

    def type(self, text, shown=True):
        """Shows a line and what it prints; answers that. A line that fails ends everything."""
        if shown:
            say("\n".join(f"{'$' if number == 0 else '>'} {line}" for number, line in enumerate(text.splitlines())))
        self.process.stdin.write(f"{text}\necho; echo '{self.END}'$?\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.startswith(self.END):
                answer = "".join(lines).removesuffix("\n")
                if line.removeprefix(self.END).strip() != "0":
                    raise Failure(f"{text}\nfailed: {answer}")
                if shown and answer.strip():
                    say(answer.rstrip("\n"))
                return answer
            lines.append(line)
        raise Failure(f"{text}\nended the shell: {''.join(lines)}")


class Demonstration:
    def __init__(self, arguments):
        self.binary = pathlib.Path(arguments.binary).resolve()
        self.tools = pathlib.Path(arguments.tools).resolve()
        self.data = pathlib.Path(arguments.data_dir or tempfile.mkdtemp(prefix="tidemark-")).resolve()
        self.address = f"127.0.0.1:{arguments.port}"
        self.shell = Shell()
        self.process = None
        self.restores = []

    def start(self):
        self.check_port()
        heading("Start the server in an empty data folder, in a shell at the top of the repository")
        self.shell.type(f'PATH="{self.binary.parent}:{self.tools}:$PATH" PYTHON="{sys.executable}" DATA="{self.data}"')
        say(f'$ tidemark serve --data-dir "$DATA" --listen {self.address} > "$DATA/server.log" 2>&1 &')
        self.data.mkdir(parents=True, exist_ok=True)
        command = [self.binary, "serve", "--data-dir", self.data, "--listen", self.address]
        with open(self.data / "server.log", "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.wait_until_ready()
        self.shell.type('eval "$(tidemark env --data-dir "$DATA" --client curl)"')
        self.shell.type('echo "project $GROUP_ID, API key $PUBLIC_KEY, service account $CLIENT_ID"')
        heading("Helpers for what follows: a call of the API, a field of its answer, waiting for a word in it")
        self.shell.type(HELPERS)

    def check_port(self):
        """Another server at the port must not be taken for ours."""
        host, port = self.address.split(":")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
            except OSError as error:
                raise Failure(f"{self.address} cannot be used ({error.strerror}); choose another port with ./run --port N")

    def wait_until_ready(self):
        probe = ["curl", "--silent", "--fail", f"http://{self.address}/readyz"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while subprocess.run(probe, capture_output=True).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = self.data / "server.log"
                raise Failure(f"the server is not ready; see {log}\n{log.read_text()[-2000:]}")
            time.sleep(0.1)

    def prepare(self):
        self.instance = "/serverless/harbour"
        self.jobs = f"{self.instance}/backup/restoreJobs"
        heading("A database user and a serverless instance")
        user = """{"username": "demo", "password": "correct-horse-battery", "databaseName": "admin",
    "roles": [{"roleName": "atlasAdmin", "databaseName": "admin"}]}"""
        self.shell.type(f"api POST /databaseUsers '{user}'")
        provider = '{"backingProviderName": "AWS", "providerName": "SERVERLESS", "regionName": "US_EAST_1"}'
        self.shell.type(f"""api POST /serverless '{{"name": "harbour", "providerSettings": {provider}}}' | field stateName""")
        self.shell.type(f"""wait_for {self.instance} '"stateName":"IDLE"'""")
        self.shell.type("ADDRESS=$(api GET /serverless/harbour | grep -o 'mongodb://[^\"]*')")
        self.shell.type('export MONGODB_URI="mongodb://demo:correct-horse-battery@${ADDRESS#mongodb://}"; echo "$MONGODB_URI"')

    def load(self):
        heading("Real data (data/README.md says where it comes from)")
        self.shell.type("world load")
        self.shell.type("world show")
        self.shell.type('world state > "$DATA/as-loaded"')

    def take_snapshot(self):
        heading("A snapshot")
        self.shell.type("SNAPSHOT=$(api POST /serverless/harbour/backup/snapshots '{}' | field id)")
        self.shell.type("""wait_for "/serverless/harbour/backup/snapshots/$SNAPSHOT" '"status":"(completed|failed)"'""")
        self.shell.type('api GET "/serverless/harbour/backup/snapshots/$SNAPSHOT"')

    def lose(self):
        heading("Change data, note the moment, then destroy everything")
        self.shell.type("world change; world show")
        self.shell.type('world state > "$DATA/as-changed"')
        self.shell.type("MOMENT=$(date +%s); sleep 2; date --utc --date=@$MOMENT")
        self.shell.type("world destroy; world show")

    def restore(self, title, body, expected):
        """Asks for a restore, waits for its end, and has it compared."""
        heading(title)
        target = '"targetClusterName": "harbour", "targetGroupId": "\'$GROUP_ID\'"'
        began = time.monotonic()
        self.shell.type(f"JOB=$(api POST {self.jobs} '{{{body},\n    {target}}}' | field id)")
        self.shell.type(f"""wait_for "{self.jobs}/$JOB" '"finishedAt"'""")
        seconds = time.monotonic() - began
        self.shell.type(f"""api GET "{self.jobs}/$JOB" | grep --quiet '"failed":false'""")
        if "download" in body:
            began = time.monotonic()
            self.shell.type(f"LINK=$(api GET \"{self.jobs}/$JOB\" | grep -o 'http[^\"]*/download/[^\"]*')")
            self.shell.type('curl --silent --show-error --fail --output "$DATA/snapshot.archive.gz" "$LINK"; ls -lh "$DATA/snapshot.archive.gz"')
            self.shell.type("world destroy")
            self.shell.type('timeout 120 mongorestore --quiet --uri "$MONGODB_URI" --gzip --archive="$DATA/snapshot.archive.gz"')
            seconds += time.monotonic() - began
        self.shell.type(f"""wait_for {self.instance} '"stateName":"IDLE"'""")
        self.shell.type("world show")
        self.shell.type(f'world state | diff "$DATA/{expected}" - && echo "every document and index is {expected.replace("-", " ")}"')
        documents = sum(int(line.split()[1]) for line in (self.data / expected).read_text().splitlines())
        self.restores.append((title, documents, seconds))

    def list_jobs(self):
        heading("The restore jobs: all of them with the API key, one with a token of the service account")
        listed = self.shell.type(f'api GET "{self.jobs}?pretty=true" | grep -E "deliveryType|finishedAt|totalCount"')
        if '"totalCount" : 3' not in listed and '"totalCount": 3' not in listed:
            raise Failure(f"three jobs were expected: {listed}")
        self.shell.type('''ACCESS_TOKEN=$(curl --silent --user "$CLIENT_ID:$CLIENT_SECRET" --data grant_type=client_credentials \\
    "$BASE_URL/api/oauth/token" | field access_token)''')
        self.shell.type('WHO=(--header "Authorization: Bearer $ACCESS_TOKEN")')
        self.shell.type(f'api GET "{self.jobs}/$JOB?pretty=true"')

    def run(self):
        self.start()
        self.prepare()
        self.load()
        self.take_snapshot()
        self.lose()
        moment = '"deliveryType": "pointInTime", "pointInTimeUTCSeconds": \'$MOMENT\''
        self.restore("The moment comes back (pointInTime)", moment, "as-changed")
        snapshot = '"deliveryType": "automated", "snapshotId": "\'$SNAPSHOT\'"'
        self.restore("The snapshot comes back (automated)", snapshot, "as-loaded")
        download = '"deliveryType": "download", "snapshotId": "\'$SNAPSHOT\'"'
        self.restore("The snapshot as a file, given to mongorestore (download)", download, "as-loaded")
        self.list_jobs()
        heading("What was proved")
        say(f"{'restore':<60} {'documents':>9} {'seconds':>7}  equal")
        for title, documents, seconds in self.restores:
            say(f"{title:<60} {documents:>9} {seconds:>7.1f}  yes")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


def main():
    parser = argparse.ArgumentParser(prog="./run", description=__doc__)
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--tools", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--once", action="store_true", help="stop the server at the end")
    parser.add_argument("--port", type=int, default=8080, help="the port of the API [8080]")
    parser.add_argument("--data-dir", help="the data folder; it must not exist [a new one]")
    arguments = parser.parse_args()
    if arguments.data_dir and (pathlib.Path(arguments.data_dir) / "catalog.sqlite").exists():
        sys.exit(f"{arguments.data_dir} is in use already; name a folder that does not exist")
    demonstration = Demonstration(arguments)
    try:
        demonstration.run()
    except Failure as failure:
        demonstration.stop()
        sys.exit(f"\nfailed: {failure}")
    except BaseException:
        demonstration.stop()
        raise
    if arguments.once:
        demonstration.stop()
        if not arguments.data_dir:
            shutil.rmtree(demonstration.data, ignore_errors=True)
        say("\nAll three restores were proved. The server is stopped.")
    else:
        say(f"\nAll three restores were proved. The server goes on at http://{demonstration.address}/ (the console, too);")
        say(f"its data is in {demonstration.data}. Stop it with: kill {demonstration.process.pid}")


if __name__ == "__main__":
    main()
