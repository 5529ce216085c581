"""Pages of the manual, pasted into a shell."""

import re
import subprocess


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
