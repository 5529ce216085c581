"""S3 servers that we did not write."""

import socket
import subprocess

from world import CLIENTS, Ports, run, until

KEY_ID, SECRET = "tidemark", "tidemark-secret"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}


class S3:
    """A server with an empty bucket."""

    def __init__(self, kind, folder, host="127.0.0.1", versions=False):
        self.host = host
        self.ports = Ports()
        self.port = self.ports.take()
        self.buckets = folder / "buckets"
        (self.buckets / "bucket").mkdir(parents=True)
        (folder / "attributes").mkdir()
        self.command = {
            "versitygw": ["--access", KEY_ID, "--secret", SECRET, "--port", f"{host}:{self.port}", "--quiet",
                          "posix", "--sidecar", folder / "attributes", self.buckets],
            "s3s-fs": ["--host", host, "--port", str(self.port), "--access-key", KEY_ID, "--secret-key", SECRET,
                       self.buckets],
        }[kind]
        if versions:
            (folder / "versions").mkdir()
            self.command[-1:-1] = ["--versioning-dir", folder / "versions"]
        self.command.insert(0, CLIENTS / "bin" / kind)
        self.process = None

    def start(self):
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self.command, stdout=quiet, stderr=quiet, stdin=quiet)
        until(self.listens, "the S3 server")
        return self

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def url(self, prefix="some/prefix"):
        return f"s3://bucket/{prefix}?endpoint=http://{self.host}:{self.port}"

    def ask(self, method, path, *options):
        """The status and the body of an answer to whoever has the credentials."""
        told = run(["curl", "--silent", "--request", method, "--write-out", "\n%{http_code}", "--aws-sigv4",
                    "aws:amz:us-east-1:s3", "--user", f"{KEY_ID}:{SECRET}", "--header",
                    "x-amz-content-sha256: UNSIGNED-PAYLOAD", *options, f"http://{self.host}:{self.port}/{path}"])
        body, status = told.rsplit("\n", 1)
        return int(status), body

    def put(self, name, file):
        status, body = self.ask("PUT", f"bucket/{name}", "--upload-file", file)
        assert status == 200, body

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self):
        self.stop()
        self.ports.close()
