"""Exceptions of third-party decoders, turned into one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lungseg import errors


@contextmanager
def damage_reported(format_name: str) -> Iterator[None]:
    """Raise DamagedImage for whatever a decoder raises within the block.

    Args:
        format_name: as users write it, for the error's text.
    """
    try:
        yield
    except (errors.ProblemError, MemoryError, ImportError):
        raise  # the last two say nothing about the image
    # For broken data, decoders raise exceptions of any type (OSError, SyntaxError, ValueError, struct.error ...), whose
    # texts may quote the image.
    except Exception:
        raise errors.DamagedImage(f"The {format_name} data is damaged or truncated.") from None
