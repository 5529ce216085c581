"""Pages of the manual, pasted into a shell."""

import os
import re
import subprocess

import pytest
from world import BINARY, CLIENTS, Ports


@pytest.fixture
def alone(tmp_path):
    """A port, and the environment of somebody who has no server yet."""
    ports = Ports()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEMARK_", "XDG_"))}
    port = ports.take()
    yield port, kept | {
        "HOME": str(tmp_path), "PATH": f"{BINARY.parent}:{CLIENTS}/python/bin:{os.environ['PATH']}",
        "TIDEMARK_INSTANCES__FIRST_PORT": str(ports.left[0]), "TIDEMARK_INSTANCES__LAST_PORT": str(ports.left[-1]),
    }
    ports.close()


def blocks(page):
    """Commands and what they print, in the order of the page."""
    return re.findall(r"^```(sh|text)\n(.*?)^```$", page.read_text(), re.M | re.S)


def paste(page, environment, replaced=()):
    """Types the commands of a page into one shell that ends at the first that fails.

    `replaced` are pairs of words of the page and what the test has in their place. Answers what each block
    of commands printed; what the page says of it is checked.
    """
    script, marks = ["set -e -o pipefail -m", "trap 'kill %1 2>/dev/null || true' EXIT"], []
    for kind, text in blocks(page):
        if kind == "sh":
            for word, own in replaced:
                text = text.replace(word, own)
            marks.append(f"--- {len(marks)} ---")
            script += [text, f"echo '{marks[-1]}'"]
    done = subprocess.run(["bash"], input="\n".join(script), capture_output=True, text=True, timeout=180, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    rest, printed = done.stdout, []
    for mark in marks:
        text, _, rest = rest.partition(mark + "\n")
        printed.append(text)
    assert rest == "", rest
    number = -1
    for kind, text in blocks(page):
        if kind == "sh":
            number += 1
        else:
            assert text in printed[number], (text, printed[number])
    return printed
