"""Which scripts and styles a browser may run on a page."""

from __future__ import annotations

import base64
import hashlib
import re


def policy(html: str, **others: str) -> str:
    """Return a Content-Security-Policy (level 3) for a page whose inline scripts and styles are those of ``html``.

    Args:
        others: further sources by directive, with _ for -; what is not named may not be loaded at all.
    """
    sources = {"script_src": "", "style_src": ""} | others
    sources["script_src"] += _hashes("script", html)
    # A hash makes browsers ignore 'unsafe-inline'.
    if "'unsafe-inline'" not in sources["style_src"]:
        sources["style_src"] += _hashes("style", html)
    named = "; ".join(f"{name.replace('_', '-')} {value.strip()}" for name, value in sources.items())
    return f"default-src 'none'; {named}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _hashes(element: str, html: str) -> str:
    found = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    return "".join(f" 'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in found)
