"""The page at `/`, assembled from its parts, and the Content-Security-Policy of pages."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from pathlib import Path

from lungseg.decode.formats import IMAGE_FORMATS
from lungseg.encode.formats import FORMATS
from lungseg.encode.overlay import LUNG_COLOURS
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.options import DEFAULT_OPACITY

PAGE_FOLDER = Path(__file__).with_name("page")

PAGE_SCRIPTS = (
    "strings",
    "elements",
    "service",
    "preview",
    "mask",
    "drawing",
    "zoom",
    "panel",
    "archive",
    "downloads",
    "queue",
    "main",
)
"""The scripts that share the page's one scope, in the order in which they run."""


@cache
def build_page() -> tuple[str, str]:
    """Return the page and its Content-Security-Policy.

    The page is one HTML file, with its styles, scripts and sample image inside: it loads nothing else. It draws lungs
    like overlays.
    """
    scripts = (_read_part(f"{name}.js") for name in PAGE_SCRIPTS)
    sample = base64.b64encode((PAGE_FOLDER / "sample.jpg").read_bytes()).decode()
    page = _read_part("page.html")
    parts = {
        "page.css": _read_part("page.css"),
        "right": LUNG_COLOURS[RIGHT],
        "left": LUNG_COLOURS[LEFT],
        "opacity": str(DEFAULT_OPACITY),
        "sample.jpg": sample,
        "scripts": "\n".join(('"use strict";', _server_facts(), *scripts)),
    }
    for name, text in parts.items():
        page = page.replace(f"{{{{{name}}}}}", text)
    return page, security_policy(page, img_src="blob: data:", connect_src="'self'")


def _read_part(name: str) -> str:
    return (PAGE_FOLDER / name).read_text(encoding="utf-8")


def _server_facts() -> str:
    """Return the script that tells the page which formats are read, and which it can offer."""
    facts = {
        "imageFormats": [each.name for each in sorted(IMAGE_FORMATS, key=lambda each: each.name == "DICOM")],
        "outputFormats": {
            each.name: {"suffix": each.suffix, "meaning": each.meaning, "isDrawn": each.is_drawn}
            for each in FORMATS.values()
            if each.name != "preview"
        },
    }
    return f"const SERVER = {json.dumps(facts)};"


def security_policy(html: str, **sources: str) -> str:
    """Return a Content-Security-Policy (level 3) that allows the inline scripts and styles of ``html`` by hash.

    Args:
        sources: further sources by directive, with _ for -; any kind of resource without a directive is blocked.
    """
    allowed = {"script_src": "", "style_src": ""} | sources
    allowed["script_src"] += _hashes("script", html)
    # A hash makes browsers ignore 'unsafe-inline'.
    if "'unsafe-inline'" not in allowed["style_src"]:
        allowed["style_src"] += _hashes("style", html)
    directives = "; ".join(f"{name.replace('_', '-')} {value.strip()}" for name, value in allowed.items())
    return f"default-src 'none'; {directives}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _hashes(element: str, html: str) -> str:
    found = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    return "".join(f" 'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in found)
