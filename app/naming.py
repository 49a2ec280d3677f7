"""Names of outputs, the same in a folder and in a bucket: the whole input name, then what the file is."""

from __future__ import annotations


def mask_name(film: str) -> str:
    """``film.dcm`` gives ``film.dcm.mask.png``: two films that differ in their suffix alone never meet."""
    return f"{film}.mask.png"


def error_name(film: str) -> str:
    """``film.dcm`` gives ``film.dcm.error.json``, the problem document of a film that was refused."""
    return f"{film}.error.json"
