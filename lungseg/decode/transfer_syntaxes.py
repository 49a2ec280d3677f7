"""The DICOM transfer syntaxes that are read (PS3.5 section 10 and annex A). Every list of them comes from here."""

from __future__ import annotations

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
"""Pixels without compression; a deflated data set is compressed as a whole."""

JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
JPEG_LS = (JPEGLSLossless, JPEGLSNearLossless)
JPEG_2000 = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
JPEG_FAMILY = (*JPEG, *JPEG_LS, *JPEG_2000)

TRANSFER_SYNTAXES: tuple[UID, ...] = (*NATIVE, RLELossless, *JPEG_FAMILY)

KEEPS_YBR = {JPEGLossless, JPEGLosslessSV1, *JPEG_LS, *JPEG_2000}
"""Syntaxes whose codecs return YBR_FULL as it is stored; a baseline JPEG becomes RGB, and so do YBR_ICT and YBR_RCT
(PS3.5 section 8.2)."""
