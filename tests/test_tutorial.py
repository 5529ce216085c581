"""The tutorial: its commands are the same in each language, and do what it says when they are pasted."""

import os
import re

from pages import blocks, paste
from world import BINARY, TOP, Ports

PAGES = {language: TOP / "docs" / f"tutorial{language}.md" for language in ("", ".ko", ".ja")}


def test_each_language_has_the_same_commands_and_sections():
    english = PAGES[""]
    for page in PAGES.values():
        assert blocks(page) == blocks(english), page
        headings = re.findall(r"^## (\d)\.", page.read_text(), re.M)
        assert headings == [str(n) for n in range(1, 9)], page


def test_the_tutorial_works_when_it_is_pasted(tmp_path):
    ports = Ports()
    try:
        server = ports.take()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEMARK_", "XDG_"))}
        environment |= {
            "HOME": str(tmp_path), "PATH": f"{BINARY.parent}:{TOP}/.clients/python/bin:{os.environ['PATH']}",
            "TIDEMARK_INSTANCES__FIRST_PORT": str(ports.left[0]), "TIDEMARK_INSTANCES__LAST_PORT": str(ports.left[-1]),
        }
        printed = paste(PAGES[""], environment, [("127.0.0.1:8080", f"127.0.0.1:{server}")])
        assert '"price":{"$numberInt":"10"}' in printed[3], printed[3]
    finally:
        ports.close()
