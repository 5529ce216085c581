"""The tutorial: its commands are the same in each language, and do what it says when they are pasted."""

import re

from pages import alone, blocks, paste  # noqa: F401
from world import TOP

PAGES = {language: TOP / "docs" / f"tutorial{language}.md" for language in ("", ".ko", ".ja")}


def test_each_language_has_the_same_commands_and_sections():
    english = PAGES[""]
    for page in PAGES.values():
        assert blocks(page) == blocks(english), page
        headings = re.findall(r"^## (\d)\.", page.read_text(), re.M)
        assert headings == [str(n) for n in range(1, 9)], page


def test_the_tutorial_works_when_it_is_pasted(alone):
    port, environment = alone
    printed = paste(PAGES[""], environment, [("127.0.0.1:8080", f"127.0.0.1:{port}")])
    assert '"price":{"$numberInt":"10"}' in printed[3], printed[3]
