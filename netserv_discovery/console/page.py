"""The one page of the console, put together from its files at the start: no build step, nothing loaded later.

Its style and its script stand inside it, each named by its hash in the policy by which browsers load and run nothing
else (Content Security Policy Level 3, section 8.3).
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

STYLES: Final = ("console.css",)
SCRIPTS: Final = ("coast.js", "elements.js", "state.js", "map.js", "ring.js", "tables.js", "main.js")
"In the order in which they need each other."


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page as it is served."""

    html: bytes
    policy: str
    "Its Content-Security-Policy."


def load_page(
    place: Traversable | None = None,
    *,
    html_name: str = "console.html",
    styles: Sequence[str] = STYLES,
    scripts: Sequence[str] = SCRIPTS,
) -> Page:
    """Read the files of the page, or of another one that has parts in common with it.

    Args:
        place: where files are looked for first.
        html_name: the page itself.
        styles: in their order.
        scripts: in the order in which they need each other.
    """
    own = resources.files(__package__) / "page"

    def text(name: str) -> str:
        file = own / name if place is None or not (place / name).is_file() else place / name
        return file.read_text(encoding="utf-8")

    style = "\n".join(map(text, styles))
    # One function around all: nothing of it is seen outside.
    script = "\n".join(map(text, scripts))
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    html = text(html_name)
    html = html.replace("/* style */", style, 1).replace("/* script */", script, 1)
    return Page(html=html.encode(), policy=_policy(style, script))


def _policy(style: str, script: str) -> str:
    rules = (
        "default-src 'none'",
        f"script-src {_hash(script)}",
        f"style-src {_hash(style)}",
        "img-src data:",  # the icon
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    return "; ".join(rules)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
