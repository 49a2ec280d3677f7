"""An extension of griffe: show the examples of a docstring, which tests run, as code.

https://mkdocstrings.github.io/griffe/extensions/
"""

from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^>>>.*(?:\n(?!\n).+)*(?:\n\n(?=>>>))?)+", re.MULTILINE)


class FencedDoctests(griffe.Extension):
    """Puts a fence around each doctest."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(
                lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", obj.docstring.value
            )
