"""Traces, as a collector of OpenTelemetry gets them."""

import http.server
import os
import subprocess
import threading
import urllib.request

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from world import BINARY, until

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """Takes what is sent to it, by the protocol's own definitions."""

    def __init__(self):
        self.spans, self.resources, self.headers = [], [], []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
                collector.headers.append(dict(self.headers))
                for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                    collector.resources.append(values(sent.resource.attributes))
                    collector.spans += [span for scope in sent.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def named(self, name):
        return [span for span in self.spans if span.name == name]


def values(attributes):
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.server.shutdown()


def test_requests_and_jobs_are_spans(fresh, collector):
    world = fresh()
    world.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x",
                         "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test", "OTEL_BSP_SCHEDULE_DELAY": "200"}
    world.start()
    world.create_instance("one")
    world.create_user()
    world.client().shop.items.insert_one({"_id": 1})
    snapshot = world.snapshot()
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    world.raw("GET", f"/api/atlas/v2/groups/{world.group}", headers={"traceparent": PARENT})
    until(lambda: collector.named("getGroup") and collector.named("restore") and collector.named("snapshot"), "the spans")
    assert collector.resources[0]["service.name"] == "tidemark" and collector.resources[0]["deployment.environment.name"] == "test"
    assert collector.headers[0]["authorization"] == "Bearer x"
    # A request says what it was, and belongs to who asked.
    [asked] = [span for span in collector.named("getGroup") if span.trace_id.hex() == PARENT.split("-")[1]]
    assert asked.parent_span_id.hex() == PARENT.split("-")[2] and asked.kind == asked.SPAN_KIND_SERVER
    told = values(asked.attributes)
    assert told["http.response.status_code"] == 200 and told["url.path"].endswith(world.group), told
    # One that writes is done by another thread.
    assert collector.named("createGroupServerlessInstance"), {span.name for span in collector.spans}
    # A job says its steps, with their times.
    [restore] = collector.named("restore")
    steps = [values(event.attributes)["step"] for event in restore.events if event.name == "a step begins"]
    assert "stage" in steps and "swap" in steps, steps
    assert restore.start_time_unix_nano < restore.events[0].time_unix_nano < restore.end_time_unix_nano
    # A link opens what it leads to: its secret part is in no span.
    job = world.wait_restored(world.restore("download", snapshotId=snapshot["id"]))
    with urllib.request.urlopen(job["deliveryUrl"][0].replace(str(world.port), str(world.server_port), 1)) as file:
        assert file.read(2) == b"\x1f\x8b"
    token = job["deliveryUrl"][0].split("/download/")[1].split("/")[0]
    until(lambda: [span for span in collector.spans if values(span.attributes).get("url.path") == "/download/"], "the span of the link")
    # No secret is in them, and the log is as it was.
    sent = b"".join(span.SerializeToString() for span in collector.spans)
    assert token.encode() not in sent and world.bootstrap["privateKey"].encode() not in sent and b"Bearer" not in sent
    assert "a step begins" not in world.log_text()
    # What is left is sent when the server stops.
    world.raw("GET", f"/api/atlas/v2/groups/{world.group}/serverless")
    world.stop()
    assert collector.named("listGroupServerlessInstances")


@pytest.mark.parametrize("settings", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_nothing_is_sent_unless_it_is_asked_for(fresh, collector, settings):
    world = fresh()
    world.environment = ({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} if settings else {}) | settings
    world.start()
    world.raw("GET", f"/api/atlas/v2/groups/{world.group}")
    world.stop()
    assert collector.spans == []


def test_a_collector_that_is_away_disturbs_nobody(fresh):
    world = fresh()
    world.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    world.start()
    world.create_instance("one")
    assert world.stop() == 0


def test_what_is_not_spoken_is_said(tmp_path):
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    done = subprocess.run([BINARY, "serve", "--data-dir", tmp_path, "--listen", "127.0.0.1:0"], capture_output=True, text=True,
                          timeout=30, env=environment)
    assert done.returncode != 0 and "http/protobuf" in done.stderr and "4318" in done.stderr
