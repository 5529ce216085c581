"""Real data in a database, for the main job: `load`, `change`, `destroy`, `show` and `state`.

Works on the database `world` at $MONGODB_URI. `state` prints what `diff` compares: of each collection
the number of documents, a hash of all of them, byte for byte, and the indexes.
"""

import gzip
import hashlib
import os
import pathlib
import sys

import pymongo
from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
SHOWN = [("airports", {"state": "AK"}), ("cities", {"countryCode": "KR"})]


def load(world):
    for path in sorted(DATA.glob("*.ndjson.gz")):
        name = path.name.split(".")[0]
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            documents = [json_util.loads(line) for line in lines]
        world[name].insert_many(documents)
        print(f"world.{name}: {len(documents)} documents")
    world.cities.create_index([("countryCode", 1), ("population", -1)])
    world.cities.create_index("alternateNames")


def change(world):
    visited = world.cities.update_many({"countryCode": "KR"}, {"$set": {"visited": True}, "$inc": {"population": 1}})
    closed = world.airports.delete_many({"state": "AK"})
    world.notes.insert_one({"_id": "after the snapshot", "by": "demo"})
    print(f"{visited.modified_count} cities visited, {closed.deleted_count} airports closed, a note written")


def destroy(world):
    world.client.drop_database(world.name)


def show(world):
    """Five lines: how much there is, and documents that `change` changes."""
    names = sorted(world.list_collection_names())
    counted = ", ".join(f"{world[name].count_documents({})} {name}" for name in names)
    print(f"world: {counted or 'no collection'}")
    for name, where in SHOWN:
        found = list(world[name].find(where, {"location": 0, "alternateNames": 0}).sort("_id").limit(2))
        for document in found:
            print(f"{name}: {json_util.dumps(document, ensure_ascii=False)[:100]}")
        for _ in range(2 - len(found)):
            print(f"{name}: none of {where}")


def state(world):
    for name in sorted(world.list_collection_names()):
        collection = world.get_collection(name, codec_options=CodecOptions(RawBSONDocument))
        digest = hashlib.sha256()
        documents = sorted(bytes(document.raw) for document in collection.find())
        for document in documents:
            digest.update(document)
        indexes = " ".join(sorted(world[name].index_information()))
        print(f"world.{name}: {len(documents)} documents, {digest.hexdigest()[:16]}, indexes {indexes}")


COMMANDS = {"load": load, "change": change, "destroy": destroy, "show": show, "state": state}


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"usage: world.py {'|'.join(COMMANDS)}")
    if not os.environ.get("MONGODB_URI"):
        sys.exit("set MONGODB_URI to the database's address, with user and password")
    COMMANDS[sys.argv[1]](pymongo.MongoClient(os.environ["MONGODB_URI"]).world)


if __name__ == "__main__":
    main()
