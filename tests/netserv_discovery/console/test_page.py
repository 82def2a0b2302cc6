import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib import resources

import pytest

from netserv_discovery.console import page as module
from netserv_discovery.console.page import SCRIPTS, STYLES, load_page

FILES = resources.files(module.__package__) / "page"


class Parts(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag, attrs):
        self.inside.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data):
        if self.inside:
            self.texts.setdefault(self.inside[-1], []).append(data)


def parts() -> Parts:
    found = Parts()
    found.feed(load_page().html.decode())
    return found


def test_the_policy_names_exactly_the_style_and_the_script_of_the_page() -> None:
    found, policy = parts(), load_page().policy
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256("".join(found.texts[tag]).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "*" not in policy


def test_the_page_loads_nothing_from_anywhere() -> None:
    for tag, name, value in parts().attributes:
        assert name not in {"src", "srcset", "action", "style"}, (tag, name)
        assert not name.startswith("on"), (tag, name)
        if name == "href":
            assert value.startswith(("#", "data:image/svg+xml,")) or value == "/state", value
    style = "".join((FILES / name).read_text() for name in STYLES)
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_or_code_of_texts(name: str) -> None:
    script = (FILES / name).read_text()
    for sink in (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|srcdoc",
        r"\beval\b|new Function|\bimport\(",
        r"setTimeout\(\s*[\"'`]|\.href\s*=|\.src\s*=|location",
    ):
        assert not re.search(sink, script), sink


def test_every_file_of_the_page_is_used() -> None:
    assert {each.name for each in FILES.iterdir()} == {"console.html", *SCRIPTS, *STYLES}


def test_every_control_has_a_name_and_every_part_a_heading() -> None:
    html = load_page().html.decode()
    for control in re.findall(r"<(?:input|select)[^>]*>", html):
        before = html[: html.index(control)]
        assert before.rfind("<label") > before.rfind("</label>"), control
    for button in re.findall(r"<button[^>]*>([^<]*)</button>", html):
        assert button
    for section in re.findall(r"<section[^>]*>", html):
        (title,) = re.findall(r'aria-labelledby="([^"]+)"', section)
        assert f'id="{title}"' in html
    assert '<html lang="en">' in html
