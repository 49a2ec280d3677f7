"""Images with canaries wherever their format allows text."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
import pydicom
import tifffile
from canaries import DIGITS, LETTERS, canary, caught
from films import dicom, encode
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from lungseg.decode.bounds.png import OWN_KIND, OWN_TEXT, png_chunk


@dataclass(frozen=True)
class CanaryImage:
    """An image full of canaries.

    Attributes:
        name: its kind.
        data: the file.
        places: the places of its canaries, as far as they can be found without parsing the format.
    """

    name: str
    data: bytes
    places: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", frozenset(caught(self.data)))


def _exif(image: Image.Image) -> Image.Exif:
    """Return EXIF with canaries in its two directories and the GPS directory."""
    exif = image.getexif()
    for tag, place in ((0x010E, "ImageDescription"), (0x010F, "Make"), (0x0110, "Model"), (0x0131, "Software")):
        exif[tag] = canary(f"exif{place}")
    for tag, place in ((0x013B, "Artist"), (0x8298, "Copyright"), (0x013C, "HostComputer")):
        exif[tag] = canary(f"exif{place}")
    exif[0x9C9D] = canary("exifXPAuthor").encode("utf-16-le")
    inner = exif.get_ifd(0x8769)
    inner[0x9286] = b"ASCII\0\0\0" + canary("exifUserComment").encode()
    inner[0x927C] = canary("exifMakerNote").encode()
    inner[0xA430] = canary("exifCameraOwner")
    inner[0xA431] = canary("exifSerialNumber")
    exif.get_ifd(0x8825)[0x1B] = canary("exifPlace").encode()
    return exif


def _profile() -> bytes:
    """Return the sRGB colour profile with a canary after its end."""
    from PIL.ImageCms import ImageCmsProfile, createProfile

    return ImageCmsProfile(createProfile("sRGB")).tobytes() + canary("iccDescription").encode() + b"\0"


def _xmp() -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><creator>{canary("xmpCreator")}</creator></x:xmpmeta>'.encode()


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Return a JPEG with canaries in EXIF, XMP, ICC, IPTC, a comment, and after the end."""
    image = Image.fromarray(pixels)
    plain = encode(
        image,
        "JPEG",
        quality=90,
        exif=_exif(image).tobytes(),
        icc_profile=_profile(),
        comment=canary("jpegComment"),
        xmp=_xmp(),
    )
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + canary("iptcCaption").encode()
    segment = b"\xff\xed" + (len(iptc) + 2).to_bytes(2, "big") + iptc
    return plain[:2] + segment + plain[2:] + canary("jpegTail").encode()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG with canaries in EXIF, ICC, all three kinds of text, a private chunk, and after the end."""
    image, info = Image.fromarray(pixels), PngInfo()
    info.add_text(canary("pngKey"), canary("pngText"))
    info.add_text("Description", f"{canary('pngZtxt')} " * 50, zip=True)
    info.add_itxt("Author", canary("pngItxt"), "de", canary("pngItxtKey"))
    info.add_itxt("Comment", f"{canary('pngItxtZ')} " * 50, zip=True)
    plain = encode(image, "PNG", pnginfo=info, exif=_exif(image).tobytes(), icc_profile=_profile())
    private = png_chunk(b"prVt", canary("pngPrivate").encode() + b"\0")
    end = plain.index(b"IDAT") - 4
    return plain[:end] + private + plain[end:] + canary("pngTail").encode()


def webp(pixels: NDArray[np.uint8]) -> bytes:
    """Return a WebP with canaries in EXIF, XMP and ICC."""
    image = Image.fromarray(pixels)
    return encode(image, "WEBP", lossless=True, exif=_exif(image).tobytes(), icc_profile=_profile(), xmp=_xmp())


def bmp(pixels: NDArray[np.uint8]) -> bytes:
    """Return a BMP with a canary after the end: BMP has no text fields."""
    return encode(Image.fromarray(pixels), "BMP") + canary("bmpTail").encode()


def tiff(pixels: NDArray[np.uint8]) -> bytes:
    """Return a TIFF with canaries in its text tags, XMP, IPTC, private tags, and those of a second page."""
    ascii_tags = (
        (269, "DocumentName"),
        (271, "Make"),
        (272, "Model"),
        (285, "PageName"),
        (315, "Artist"),
        (316, "HostComputer"),
        (33432, "Copyright"),
    )
    tags = [(tag, "s", 0, canary(f"tiff{place}"), True) for tag, place in ascii_tags]
    tags += [(700, "B", 0, _xmp(), True), (33723, "B", 0, canary("tiffIptc").encode() + b"\0", True)]
    tags += [(65001, "s", 0, canary("tiffPrivate"), True), (65002, "B", 0, canary("tiffPrivateBytes").encode(), True)]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        common = {"photometric": "minisblack", "software": canary("tiffSoftware"), "metadata": None}
        writer.write(pixels, description=canary("tiffDescription"), extratags=tags, **common)
        writer.write(np.zeros_like(pixels), description=canary("tiffSecondPage"), **common)
    return buffer.getvalue() + canary("tiffTail").encode()


PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
)

TEXTS = (
    *PATIENT_AND_STUDY,
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "OperatorsName",
    "PerformingPhysicianName",
    "PhysiciansOfRecord",
    "RequestingPhysician",
    "OtherPatientNames",
    "OtherPatientIDs",
    "PatientAddress",
    "PatientMotherBirthName",
    "PatientTelephoneNumbers",
    "PatientComments",
    "AdditionalPatientHistory",
    "EthnicGroup",
    "Occupation",
    "MilitaryRank",
    "AdmissionID",
    "ImageComments",
    "SeriesDescription",
    "ProtocolName",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "DerivationDescription",
    "StationName",
    "Manufacturer",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "DetectorID",
    "PlateID",
    "CassetteID",
    "AcquisitionDeviceProcessingDescription",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSponsorName",
    "WindowCenterWidthExplanation",
    "LUTExplanation",
)
"""Text elements of a DICOM image."""

UIDS = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "DeviceUID",
    "IrradiationEventUID",
    "InstanceCreatorUID",
    "CreatorVersionUID",
)


def _element(keyword: str) -> str:
    """Return a canary as long as its VR allows: SH takes 16 characters."""
    return canary(keyword)[: 16 if dictionary_VR(keyword) == "SH" else 64]


CARRIED = frozenset({_element(keyword).removeprefix(LETTERS) for keyword in PATIENT_AND_STUDY} | {"digits"})
"""What a DICOM Segmentation copies from its image, only when it is requested by name, because the standard requires it
of an object of the same patient and study: patient, study, and the UIDs ("digits") that refer to the image."""


def dicom_image(pixels: NDArray[np.generic], **elements: object) -> bytes:
    """Return a DICOM image with canaries in texts, UIDs, sequences, private elements, overlays, preamble, file meta."""
    texts = {keyword: _element(keyword) for keyword in TEXTS if dictionary_VR(keyword) not in ("SQ", "UI")}
    uids = {keyword: f"1.2.826.{DIGITS}.{number}" for number, keyword in enumerate(UIDS, 1)}
    plain = dicom(pixels, **texts, **uids, SOPInstanceUID=f"1.2.826.{DIGITS}.99", **elements)
    dataset = pydicom.dcmread(io.BytesIO(plain))
    request, code = Dataset(), Dataset()
    request.RequestedProcedureID = canary("itemReq")[:16]
    request.ScheduledProcedureStepDescription = canary("itemScheduled")
    code.CodeMeaning = canary("itemCode")
    request.RequestedProcedureCodeSequence = Sequence([code])
    dataset.RequestAttributesSequence = Sequence([request])
    dataset.private_block(0x0009, canary("privateCreator"), create=True).add_new(1, "LO", canary("private"))
    dataset.private_block(0x0011, canary("privateCreator"), create=True).add_new(2, "UN", canary("privateUN").encode())
    dataset.add_new(0x60001500, "LO", canary("overlayLabel"))
    dataset.add_new(0x60000022, "LO", canary("overlayText"))
    dataset.file_meta.ImplementationVersionName = canary("metaVn")[:16]
    dataset.file_meta.SourceApplicationEntityTitle = canary("metaAe")[:16]
    dataset.file_meta.PrivateInformationCreatorUID = f"1.2.826.{DIGITS}.98"
    dataset.file_meta.PrivateInformation = canary("metaPrivate").encode()
    dataset.preamble = canary("preamble").encode().ljust(128, b"\0")
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def good(pixels: NDArray[np.uint8]) -> dict[str, CanaryImage]:
    """Return one valid image in every format."""
    makers = {"jpeg": jpeg, "png": png, "webp": webp, "bmp": bmp, "tiff": tiff, "dicom": dicom_image}
    return {name: CanaryImage(name, make(pixels)) for name, make in makers.items()}


def refused(pixels: NDArray[np.uint8]) -> dict[str, list[CanaryImage]]:
    """Return images that are rejected, by error code; each carries canaries."""
    images = good(pixels)
    empty, tiny = np.full_like(pixels, 90), pixels[:32, :32].copy()
    makers = (jpeg, png, webp, bmp, tiff, dicom_image)
    text = canary("plainText").encode()
    wide = png_chunk(b"IHDR", (60_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0")
    data = images["png"].data
    return {
        "unsupported-format": [
            CanaryImage("text", text * 100),
            CanaryImage("pdf", b"%PDF-1.7\n" + text),
            CanaryImage("xml", b"<?xml version='1.0'?><name>" + text + b"</name>"),
        ],
        "mangled-body": [CanaryImage("mangled", data.decode("utf-8", "replace").encode())],
        "too-large": [CanaryImage("too wide", data[:8] + wide + data[33:])],
        "too-small": [CanaryImage(f"tiny {each.__name__}", each(tiny)) for each in makers],
        "blank-film": [CanaryImage(f"blank {each.__name__}", each(empty)) for each in makers],
        "own-output": [CanaryImage("own", data[:33] + png_chunk(OWN_KIND, OWN_TEXT) + data[33:])],
        "damaged-film": [
            CanaryImage(f"{name} cut", film.data[: 2 * len(film.data) // 5]) for name, film in images.items()
        ],
        "unsupported-dicom": [
            CanaryImage("frames", dicom_image(pixels, NumberOfFrames=2)),
            CanaryImage("palette", dicom_image(pixels, PhotometricInterpretation="PALETTE COLOR")),
            CanaryImage("odd colour", dicom_image(pixels, PhotometricInterpretation=canary("colour")[:16])),
        ],
    }
