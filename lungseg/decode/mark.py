"""The mark of this program's own PNGs, by which they are told from chest X-rays.

A mask or an overlay that comes back as an image would give a mask again, of a picture of lungs.
"""

from __future__ import annotations

KEYWORD, PROGRAM = "Software", "lung-segmentation"
"""A text chunk's keyword for the program that made a PNG, and its text (PNG specification, 11.3.3.2)."""

KIND = b"tEXt"

TEXT = f"{KEYWORD}\0{PROGRAM}".encode("latin-1")
"""What the chunk holds."""
