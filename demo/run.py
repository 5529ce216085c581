"""The main job as a transcript: every line after `$` can be repeated by hand.

Starts a server, loads real data, takes a snapshot, destroys data, restores it by all three
deliveries, and compares documents after each. Ends with an error if a comparison fails.
"""

import argparse
import gzip
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pymongo
from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

TOP = pathlib.Path(__file__).resolve().parent.parent
ACCEPT = "Accept: application/vnd.atlas.2023-02-01+json"
ROOT = '"$BASE_URL/api/atlas/v2/groups/$GROUP_ID'
PASSWORD = "correct horse battery staple"
PATIENCE_SECONDS = 300


def say(text=""):
    print(text, flush=True)


def heading(text):
    say(f"\n== {text}")


class Failure(Exception):
    pass


class Demonstration:
    def __init__(self, arguments):
        self.binary = pathlib.Path(arguments.binary).resolve()
        self.tools = pathlib.Path(arguments.tools).resolve()
        self.data = pathlib.Path(arguments.data_dir or tempfile.mkdtemp(prefix="tidemark-"))
        self.address = f"127.0.0.1:{arguments.port}"
        self.environment = dict(os.environ)
        self.process = None

    def start(self):
        self.check_port()
        heading("Start the server in an empty data folder")
        command = [self.binary, "serve", "--data-dir", self.data, "--listen", self.address]
        say("$ " + " ".join(map(str, command)))
        self.data.mkdir(parents=True, exist_ok=True)
        log = open(self.data / "server.log", "ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.wait(self.is_ready, "the server")
        export = [str(self.binary), "env", "--data-dir", str(self.data), "--client", "curl"]
        say(f'$ eval "$({" ".join(export)})"')
        for line in subprocess.run(export, capture_output=True, text=True, check=True).stdout.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = value.strip("'")
        for name in ("ORG_ID", "GROUP_ID", "PUBLIC_KEY", "CLIENT_ID"):
            say(f"{name} is {self.environment[name]}")

    def check_port(self):
        """Another server at the port must not be taken for ours."""
        host, port = self.address.split(":")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
            except OSError as error:
                raise Failure(f"{self.address} cannot be used ({error.strerror}); choose another port with ./run --port N")

    def is_ready(self):
        if self.process.poll() is not None:
            raise Failure(f"the server ended; see {self.data / 'server.log'}\n" + (self.data / "server.log").read_text()[-2000:])
        probe = ["curl", "--silent", "--fail", f"http://{self.address}/readyz"]
        return subprocess.run(probe, capture_output=True).returncode == 0

    def wait(self, condition, what):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.1)
        raise Failure(f"waited in vain for {what}")

    def shell(self, line, quiet=False):
        if not quiet:
            say("$ " + line)
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=self.environment)
        if done.returncode != 0:
            raise Failure(f"{line}\nfailed: {done.stdout}{done.stderr}")
        return done.stdout

    def digest(self, method, path, body=None, quiet=False):
        """A call with the API key; the line is printed."""
        return self.curl('--digest --user "$PUBLIC_KEY:$PRIVATE_KEY"', method, path, body, quiet)

    def bearer(self, method, path, body=None, quiet=False):
        """A call with a token of the service account."""
        return self.curl('--header "Authorization: Bearer $ACCESS_TOKEN"', method, path, body, quiet)

    def curl(self, who, method, path, body, quiet):
        line = f'curl --silent --show-error --fail-with-body {who} --header "{ACCEPT}"'
        if body is not None:
            line += f""" --header "Content-Type: application/json" --data '{json.dumps(body)}'"""
        answer = self.shell(f'{line} -X {method} {ROOT}{path}"', quiet)
        return json.loads(answer) if answer else None

    def prepare(self):
        heading("Look at the project with the API key, and get a token for the service account")
        say(f"project: {self.digest('GET', '')['name']}")
        line = 'curl --silent --user "$CLIENT_ID:$CLIENT_SECRET" --data grant_type=client_credentials "$BASE_URL/api/oauth/token"'
        self.environment["ACCESS_TOKEN"] = json.loads(self.shell(line))["access_token"]
        say("ACCESS_TOKEN is a token that works for an hour")

        heading("Create a database user and a serverless instance")
        role = {"roleName": "atlasAdmin", "databaseName": "admin"}
        user = {"username": "demo", "password": PASSWORD, "databaseName": "admin", "roles": [role]}
        self.digest("POST", "/databaseUsers", user)
        provider = {"backingProviderName": "AWS", "providerName": "SERVERLESS", "regionName": "US_EAST_1"}
        created = self.digest("POST", "/serverless", {"name": "harbour", "providerSettings": provider})
        say(f"stateName: {created['stateName']}")
        instance = self.wait(self.find_idle, "the instance")
        self.uri = instance["connectionStrings"]["standardSrv"]
        say(f"stateName: IDLE, connection string: {self.uri}")
        self.client = pymongo.MongoClient(self.uri, username="demo", password=PASSWORD)

    def find_idle(self):
        instance = self.digest("GET", "/serverless/harbour", quiet=True)
        return instance if instance["stateName"] == "IDLE" else None

    def load(self):
        heading("Load real data with PyMongo (data/README.md says where it comes from)")
        for path in sorted((TOP / "data").glob("*.ndjson.gz")):
            name = path.name.split(".")[0]
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                documents = [json_util.loads(line) for line in lines]
            began = time.monotonic()
            self.client.world[name].insert_many(documents)
            say(f"world.{name}: {len(documents)} documents in {time.monotonic() - began:.1f} s")
        self.client.world.cities.create_index([("countryCode", 1), ("population", -1)])
        self.client.world.cities.create_index("alternateNames")

    def fingerprint(self):
        """Count and hash of every collection, and the names of its indexes."""
        found = {}
        for name in sorted(self.client.world.list_collection_names()):
            digest = hashlib.sha256()
            collection = self.client.world.get_collection(name, codec_options=CodecOptions(RawBSONDocument))
            documents = sorted(bytes(document.raw) for document in collection.find())
            for document in documents:
                digest.update(document)
            indexes = sorted(self.client.world[name].index_information())
            found[name] = (len(documents), digest.hexdigest()[:16], indexes)
        return found

    def compare(self, expected, what):
        found = self.fingerprint()
        for name in sorted(set(expected) | set(found)):
            say(f"world.{name}: {found.get(name)} {'=' if found.get(name) == expected.get(name) else '≠'} {what}")
        if found != expected:
            raise Failure(f"the restored data is not {what}: {expected}")
        say(f"proved: every document and index is as {what}")

    def take_snapshot(self):
        heading("Take a snapshot")
        snapshot = self.digest("POST", "/serverless/harbour/backup/snapshots", {})
        path = f"/serverless/harbour/backup/snapshots/{snapshot['id']}"

        def completed():
            found = self.digest("GET", path, quiet=True)
            if found["status"] == "failed":
                raise Failure(f"the snapshot failed; see {self.data / 'server.log'}")
            return found if found["status"] == "completed" else None

        snapshot = self.wait(completed, "the snapshot")
        say(f"snapshot {snapshot['id']}: {snapshot['status']}, {snapshot['storageSizeBytes']} bytes of documents")
        return snapshot["id"]

    def restore(self, body):
        target = {"targetClusterName": "harbour", "targetGroupId": self.environment["GROUP_ID"]}
        job = self.digest("POST", "/serverless/harbour/backup/restoreJobs", {**body, **target})
        path = f"/serverless/harbour/backup/restoreJobs/{job['id']}"

        def finished():
            found = self.digest("GET", path, quiet=True)
            return found if "finishedAt" in found else None

        began = time.monotonic()
        job = self.wait(finished, "the restore job")
        say(f"restore job {job['id']}: finished after {time.monotonic() - began:.1f} s")
        if job["failed"] or job["cancelled"]:
            raise Failure(f"the restore job did not deliver: {job}; see {self.data / 'server.log'}")
        self.wait(self.find_idle, "the instance")
        return job

    def run(self):
        self.start()
        self.prepare()
        self.load()
        as_loaded = self.fingerprint()
        snapshot = self.take_snapshot()

        heading("Change data, note the moment, then destroy everything")
        world = self.client.world
        say(f"cities renamed: {world.cities.update_many({'countryCode': 'KR'}, {'$set': {'visited': True}, '$inc': {'population': 1}}).modified_count}")
        say(f"airports closed: {world.airports.delete_many({'state': 'AK'}).deleted_count}")
        world.notes.insert_one({"_id": "after the snapshot", "by": "demo"})
        as_changed = self.fingerprint()
        moment = int(time.time())
        self.wait(lambda: time.time() > moment + 1, "the next second")
        say(f"the moment to come back to: {moment}")
        self.client.drop_database("world")
        say("the database world is dropped")

        heading("Restore the moment (pointInTime)")
        self.restore({"deliveryType": "pointInTime", "pointInTimeUTCSeconds": moment})
        self.compare(as_changed, "it was at the moment")

        heading("Restore the snapshot (automated)")
        self.restore({"deliveryType": "automated", "snapshotId": snapshot})
        self.compare(as_loaded, "it was in the snapshot")

        heading("Download the snapshot and give it to mongorestore (download)")
        job = self.restore({"deliveryType": "download", "snapshotId": snapshot})
        archive = self.data / "snapshot.archive.gz"
        self.shell(f"curl --silent --show-error --fail --output {archive} '{job['deliveryUrl'][0]}'")
        say(f"{archive.stat().st_size} bytes; the link works until {job['expiresAt']}")
        self.client.drop_database("world")
        with_user = self.uri.replace("mongodb://", f"mongodb://demo:{PASSWORD.replace(' ', '%20')}@")
        self.environment["MONGODB_URI"] = with_user
        self.shell(f'timeout -k 5 120 {self.tools / "mongorestore"} --quiet --uri "$MONGODB_URI" --gzip --archive={archive}')
        self.compare(as_loaded, "it was in the snapshot")

        heading("List the restore jobs with digest, and one of them with bearer")
        listed = self.digest("GET", "/serverless/harbour/backup/restoreJobs?pretty=true")
        for found in listed["results"]:
            say(f"{found['id']} {found['deliveryType']:<12} finished {found['finishedAt']}")
        if listed["totalCount"] != 3:
            raise Failure(f"three jobs were expected: {listed}")
        one = self.bearer("GET", f"/serverless/harbour/backup/restoreJobs/{job['id']}")
        if one != listed["results"][0]:
            raise Failure(f"list and get differ: {one}")
        say(json.dumps(one, indent=2))

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
    except (Failure, pymongo.errors.PyMongoError, subprocess.CalledProcessError) as failure:
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
        say(f"\nAll three restores were proved. The server goes on at http://{demonstration.address};")
        say(f"its data is in {demonstration.data}. Stop it with: kill {demonstration.process.pid}")


if __name__ == "__main__":
    main()
