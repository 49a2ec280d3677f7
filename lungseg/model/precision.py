"""The reasons why a model serves in INT8 or in FP32.

On processors with 8-bit dot products, INT8 is two to three times as fast as FP32 and gives the same masks. Without them
its sums saturate and it is no faster, so FP32 serves.
"""

from __future__ import annotations

from enum import StrEnum

NO_DOT_PRODUCTS = "this processor has no 8-bit dot products (AVX-512 VNNI, AVX-VNNI or ASIMDDP)"


class PrecisionReason(StrEnum):
    """Why a model serves in its precision: a stable code for programs, and its ``text`` for people."""

    DOT_PRODUCTS = "dot-products"
    NO_DOT_PRODUCTS = "no-dot-products"
    SELF_CHECK_PASSED = "self-check-passed"
    SELF_CHECK_FAILED = "self-check-failed"
    NO_INT8_FILE = "no-int8-file"
    SETTING = "setting"
    NAMED = "named"

    @property
    def text(self) -> str:
        """The reason as a clause."""
        return PRECISION_TEXTS[self]


PRECISION_TEXTS = {
    PrecisionReason.DOT_PRODUCTS: "this processor has 8-bit dot products",
    PrecisionReason.NO_DOT_PRODUCTS: NO_DOT_PRODUCTS,
    PrecisionReason.SELF_CHECK_PASSED: "the INT8 model passed its self-check; the processor's instructions are unknown",
    PrecisionReason.SELF_CHECK_FAILED: "the INT8 model failed its self-check on this processor",
    PrecisionReason.NO_INT8_FILE: "this model has no INT8 file",
    PrecisionReason.SETTING: "LUNG_PRECISION asks for it",
    PrecisionReason.NAMED: "LUNG_MODEL names this file",
}
