"""AWS Lambda's limit on the size of a response (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""

from __future__ import annotations

from lungseg import errors

MAX_RESPONSE_BYTES = 6 * 2**20 - 2**14
"""Bytes of a response of AWS Lambda, base64 included: 6 MB, less room for headers."""


def check_response_size(count: int) -> None:
    """Raise AnswerTooLarge if a response of so many bytes, base64 included, exceeds MAX_RESPONSE_BYTES."""
    if count > MAX_RESPONSE_BYTES:
        raise errors.AnswerTooLarge(
            f"The response has {count:,} bytes in base64; the limit is {MAX_RESPONSE_BYTES:,} bytes."
        )


def check_expected_size(height: int, width: int, bytes_per_pixel: float) -> None:
    """Raise AnswerTooLarge if the response to an image of this size is certain to exceed MAX_RESPONSE_BYTES.

    Args:
        height, width: in pixels.
        bytes_per_pixel: of the response before base64, at least.
    """
    count = int(height * width * bytes_per_pixel * 4 / 3)
    if count > MAX_RESPONSE_BYTES:
        raise errors.AnswerTooLarge(
            f"In this format, an image of {width} x {height} pixels gives a response of at least {count:,} bytes in "
            f"base64; the limit is {MAX_RESPONSE_BYTES:,} bytes."
        )
