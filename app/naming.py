"""Names of outputs, the same in a folder and in a bucket: the whole input name, then what the file is."""

from __future__ import annotations

ERROR_SUFFIX = ".error.json"
"""Of the problem document that takes the outputs' place if a film was refused."""


def output_name(film: str, suffix: str) -> str:
    """``film.dcm`` and ``.mask.png`` give ``film.dcm.mask.png``: films that differ in their suffix alone never meet."""
    return f"{film}{suffix}"
