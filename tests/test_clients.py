"""Unmodified clients: curl, mongosh, the Node driver, mongodump and mongorestore."""

import json
import subprocess

import pytest

from world import BINARY, CLIENTS, TOP, content, run

PATH = "/api/atlas/v2/groups/{group}/serverless/one/backup/restoreJobs"


def curl(world, *arguments):
    environment = run([BINARY, "env", "--data-dir", world.data, "--client", "curl"])
    script = environment + "exec curl --silent --show-error " + " ".join(arguments)
    return run(["bash", "-c", script])


@pytest.fixture(scope="module")
def job(world):
    client = world.client()
    client.shop.items.insert_many({"_id": n} for n in range(100))
    snapshot = world.snapshot()
    return world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))


DATES = ["2023-01-01", "2023-02-01", "2024-05-30", "2025-03-12"]


def bearer_token(world):
    asked = '--user "$CLIENT_ID:$CLIENT_SECRET" -d grant_type=client_credentials "$BASE_URL/api/oauth/token"'
    return json.loads(curl(world, asked))


@pytest.mark.parametrize("date", DATES)
def test_curl_with_bearer_lists_restore_jobs(world, job, date):
    url = f'"$BASE_URL{PATH.format(group="$GROUP_ID")}?pretty=true"'
    answer = curl(
        world,
        f'--include --header "Authorization: Bearer {bearer_token(world)["access_token"]}"',
        f'--header "Accept: application/vnd.atlas.{date}+json" -X GET {url}',
    )
    head, _, body = answer.partition("\n\n")
    assert head.startswith("HTTP/1.1 200") and "www-authenticate" not in head.lower()
    assert body.startswith('{\n  "links" : [ {\n')
    assert job["id"] in [found["id"] for found in json.loads(body)["results"]]


@pytest.mark.parametrize("date", DATES)
def test_curl_with_digest_lists_restore_jobs(world, job, date):
    url = f'"$BASE_URL{PATH.format(group="$GROUP_ID")}?pretty=true"'
    answer = curl(
        world,
        '--user "$PUBLIC_KEY:$PRIVATE_KEY" --digest --include',
        f'--header "Accept: application/vnd.atlas.{date}+json" -X GET {url}',
    )
    head, _, body = answer.rpartition("\n\n")
    assert "HTTP/1.1 401" in head and "HTTP/1.1 200" in head
    assert "content-type: application/vnd.atlas.2023-01-01+json;charset=utf-8" in head.lower()
    listed = json.loads(body)
    assert listed["totalCount"] >= 1 and job["id"] in [found["id"] for found in listed["results"]]


def test_curl_with_bearer_gets_one_restore_job(world, job):
    token = bearer_token(world)
    assert token["token_type"] == "Bearer" and token["expires_in"] == 3600
    header = f'--header "Authorization: Bearer {token["access_token"]}"'
    accept = '--header "Accept: application/vnd.atlas.2024-05-30+json"'
    url = f'"$BASE_URL{PATH.format(group="$GROUP_ID")}/{job["id"]}"'
    assert json.loads(curl(world, header, accept, url)) == job
    revoke = f'--user "$CLIENT_ID:$CLIENT_SECRET" -d token={token["access_token"]} "$BASE_URL/api/oauth/revoke"'
    assert curl(world, "--write-out '%{http_code}'", revoke) == "200"
    assert curl(world, "--output /dev/null --write-out '%{http_code}'", header, accept, url) == "401"


def test_mongosh_reads_and_writes(world, tmp_path):
    script = """
        const shop = db.getSiblingDB('shell');
        shop.items.drop();
        shop.items.insertMany([{a: 1, tags: ['x', 'y']}, {a: 2}]);
        shop.items.updateOne({a: 2}, {$set: {b: ISODate('2026-01-01')}});
        shop.items.createIndex({a: 1}, {unique: true});
        print(EJSON.stringify({
            count: shop.items.countDocuments(),
            found: shop.items.find({tags: 'y'}).toArray().length,
            indexes: shop.items.getIndexes().map(i => i.name),
            groups: shop.items.aggregate([{$group: {_id: null, s: {$sum: '$a'}}}]).toArray()[0].s,
            ok: rs.status().ok,
        }));
    """
    command = [CLIENTS / "node/node_modules/.bin/mongosh", "--quiet", "--norc", world.uri(), "--eval", script]
    import os

    printed = run(command, env={**os.environ, "HOME": str(tmp_path)})
    expected = {"count": 2, "found": 1, "indexes": ["_id_", "a_1"], "groups": 3, "ok": 1}
    assert json.loads(printed.strip().splitlines()[-1]) == expected


def test_the_node_driver_reads_and_writes(world):
    script = """
        const {MongoClient} = require('mongodb');
        (async () => {
            const client = await MongoClient.connect(process.argv[1]);
            const items = client.db('node').collection('items');
            await items.deleteMany({});
            await items.insertMany(Array.from({length: 500}, (_, n) => ({n, even: n % 2 === 0})));
            await items.bulkWrite([
                {updateOne: {filter: {n: 1}, update: {$inc: {n: 1000}}}},
                {deleteOne: {filter: {n: 2}}},
                {replaceOne: {filter: {n: -1}, replacement: {n: -1}, upsert: true}},
            ]);
            const changed = await items.findOneAndUpdate({n: 3}, {$set: {c: 1}}, {returnDocument: 'after'});
            let seen = 0;
            for await (const item of items.find({}, {batchSize: 7})) seen += 1;
            console.log(JSON.stringify({seen, changed: changed.c, distinct: (await items.distinct('even')).length}));
            await client.close();
        })();
    """
    printed = run(["node", "-e", script, world.uri()], cwd=CLIENTS / "node")
    assert json.loads(printed) == {"seen": 500, "changed": 1, "distinct": 2}


@pytest.mark.parametrize("oplog", [[], ["--oplog"]])
def test_mongodump_and_mongorestore_make_the_round_trip(world, tmp_path, oplog):
    client = world.client()
    client.drop_database("tools")
    client.tools.items.insert_many({"_id": n, "text": "é" * (n % 90)} for n in range(2000))
    client.tools.items.create_index([("text", 1)], name="by text")
    before = content(client)
    archive = tmp_path / "dump.archive"
    run([CLIENTS / "bin/mongodump", "--uri", world.uri(), f"--archive={archive}", "--gzip", *oplog])
    client.drop_database("tools")
    replay = ["--oplogReplay"] if oplog else []
    run([CLIENTS / "bin/mongorestore", "--uri", world.uri(), f"--archive={archive}", "--gzip", "--drop", *replay])
    assert content(client) == before


def test_the_env_command_prints_what_each_client_needs(world):
    for client, name in [
        ("curl", "PUBLIC_KEY"),
        ("atlas", "MONGODB_ATLAS_OPS_MANAGER_URL"),
        ("terraform", "MONGODB_ATLAS_BASE_URL"),
        ("sdk", "MONGODB_ATLAS_CLIENT_ID"),
    ]:
        lines = run([BINARY, "env", "--data-dir", world.data, "--client", client]).splitlines()
        assert any(line.startswith(f"export {name}=") for line in lines)
    refused = subprocess.run([BINARY, "env", "--data-dir", world.folder / "nothing", "--client", "curl"], capture_output=True)
    assert refused.returncode != 0


def test_the_rust_driver_reads_and_writes(world):
    manifest = TOP / "interop" / "rust-driver" / "Cargo.toml"
    build = ["cargo", "build", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir", CLIENTS / "rust-driver"]
    subprocess.run(build, check=True, timeout=900)
    printed = run([CLIENTS / "rust-driver" / "debug" / "rust-driver", world.uri()])
    assert printed == "401 documents, 3 groups\n"
