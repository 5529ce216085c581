"""What a service manager is told, and the unit that asks for it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from world import TOP, until

UNIT = TOP / "deploy" / "systemd" / "tidemark.service"


@pytest.fixture
def manager(tmp_path):
    """Remembers what it is told."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        told = []

        def look():
            try:
                while True:
                    told.extend(listener.recv(4096).decode().split())
            except BlockingIOError:
                return told

        yield path, look


def test_the_service_manager_is_told_when_it_is_ready_alive_and_stops(fresh, manager):
    path, told = manager
    world = fresh()
    world.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1500000"}
    world.start()
    until(lambda: "READY=1" in told(), "that it is ready")
    assert world.answers("/readyz") and "STOPPING=1" not in told()
    before = told().count("WATCHDOG=1")
    until(lambda: told().count("WATCHDOG=1") >= before + 3, "that it is alive")
    # One that hangs says nothing.
    world.process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    before = told().count("WATCHDOG=1")
    time.sleep(1.2)
    assert told().count("WATCHDOG=1") == before
    world.process.send_signal(signal.SIGCONT)
    until(lambda: told().count("WATCHDOG=1") > before, "that it goes on")
    world.stop()
    assert told()[-1] == "STOPPING=1" or "STOPPING=1" in told()


def test_the_unit_is_one_that_systemd_takes_and_gives_little_away(tmp_path):
    if shutil.which("systemd-analyze") is None:
        reason = "skipped: there is no systemd-analyze here; install Debian's package systemd"
        assert os.environ.get("CI") != "true", reason
        print(reason)
        pytest.skip(reason)
    unit = tmp_path / "tidemark.service"
    # Its program is not installed here.
    unit.write_text(UNIT.read_text().replace("/usr/bin/tidemark", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", unit], capture_output=True, text=True)
    exposure = float(re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)[1])
    assert exposure < 1.5, done.stdout
