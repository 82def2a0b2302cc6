"""The one page of the console, put together from its files at the start: no build step, nothing loaded later.

Its style and its script stand inside it, each named by its hash in the policy by which browsers load and run nothing
else (Content Security Policy Level 3, section 8.3).
"""

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
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


def load_page() -> Page:
    """Read the files of the page."""
    files = resources.files(__package__) / "page"
    style = "\n".join((files / name).read_text(encoding="utf-8") for name in STYLES)
    # One function around all: nothing of it is seen outside.
    script = "\n".join((files / name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}}})();\n'
    html = (files / "console.html").read_text(encoding="utf-8")
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
