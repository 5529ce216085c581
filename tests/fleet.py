"""Several nodes over one catalog in PostgreSQL and one vault in a bucket."""

import shutil

from s3 import CREDENTIALS, S3
from world import run


class Fleet:
    """Nodes that share their records and their vault."""

    def __init__(self, make, folder, s3_host="127.0.0.1"):
        self.make, self.nodes = make, []
        self.s3 = S3("versitygw", folder / "s3", s3_host).start()

    def node(self, role="all", **settings):
        """A node that is not started yet; the first one makes the key and the first credentials."""
        world = self.make(vault=self.s3.url(), role=role, **settings)
        world.environment = dict(CREDENTIALS)
        if self.nodes:
            first = self.nodes[0]
            world.settings["catalog"] = first.settings["catalog"]
            world.data.mkdir()
            for file in ("vault.key", "bootstrap.json"):
                shutil.copy(first.data / file, world.data / file)
        self.nodes.append(world)
        return world

    def sql(self, question):
        database = self.nodes[0].settings["catalog"]
        return run(["psql", "--quiet", "--tuples-only", "--no-align", database, "-c", question]).strip()

    def captured(self, api, name="one"):
        """The last captured position of an instance."""
        instance = api.call("GET", api.instance_path(name))["id"]
        last = self.sql(f"SELECT coalesce(max(last), 0) FROM oplog_ranges WHERE instance_id = '{instance}'")
        return divmod(int(last), 1 << 32)
