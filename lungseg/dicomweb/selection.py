"""Which instances of a study are chest radiographs, by their headers; the pixels decide the rest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lungseg import limits
from lungseg.decode import chest_header
from lungseg.decode.bounds.png import OWN_PROGRAM
from lungseg.dicomweb import dicom_json as tags
from lungseg.dicomweb.dicom_json import JsonDataset
from lungseg.encode.dicom_object import RADIOGRAPH_CLASSES


class HeaderReason(StrEnum):
    """Why an instance is not retrieved, as a code for reports."""

    OTHER_CLASS = "other-class"
    OWN_RESULT = chest_header.OWN_RESULT
    BODY_PART = chest_header.OTHER_BODY_PART
    VIEW = chest_header.OTHER_VIEW
    FRAMES = "several-frames"
    SIZE = "unfit-size"
    UID = "invalid-uid"


HEADER_REASON_TEXTS = {
    HeaderReason.OTHER_CLASS: "not a CR, DX or SC image",
    HeaderReason.OWN_RESULT: "a result of this program",
    HeaderReason.BODY_PART: "another body part than the chest",
    HeaderReason.VIEW: "a lateral or oblique view",
    HeaderReason.FRAMES: "several frames",
    HeaderReason.SIZE: "more or fewer pixels than are read",
    HeaderReason.UID: "no valid UID",
}


@dataclass(frozen=True)
class ImageEntry:
    """A radiograph on the server.

    Attributes:
        study, series, instance: its UIDs.
        pixel_bytes: bytes of its pixels without compression; 0 if the server does not say.
    """

    study: str
    series: str
    instance: str
    pixel_bytes: int

    @property
    def uids(self) -> tuple[str, str, str]:
        """The UIDs of study, series and instance."""
        return self.study, self.series, self.instance

    @classmethod
    def of(cls, study: str, series: str, header: JsonDataset) -> ImageEntry:
        """Return the entry of an instance whose header is known."""
        rows, columns, bits = (
            tags.read_number(header, tag) or 0 for tag in (tags.ROWS, tags.COLUMNS, tags.BITS_ALLOCATED)
        )
        return cls(study, series, tags.read_text(header, tags.INSTANCE_UID), rows * columns * (bits or 16) // 8)


def header_reason(header: JsonDataset, any_body_part: bool = False) -> HeaderReason | None:
    """Return why an instance is not a frontal chest radiograph; None if it may be one.

    What a header does not say speaks for the image.

    Args:
        header: of the instance.
        any_body_part: whether to ignore the body part, which devices often state wrongly.
    """
    if tags.read_text(header, tags.CLASS_UID) not in RADIOGRAPH_CLASSES:
        return HeaderReason.OTHER_CLASS
    if tags.read_text(header, tags.MANUFACTURER) == OWN_PROGRAM:
        return HeaderReason.OWN_RESULT
    if not tags.is_uid(tags.read_text(header, tags.INSTANCE_UID)):
        return HeaderReason.UID
    if (tags.read_number(header, tags.FRAMES) or 1) > 1:
        return HeaderReason.FRAMES
    if not _has_fitting_size(header):
        return HeaderReason.SIZE
    if not any_body_part and not _may_be_chest(header):
        return HeaderReason.BODY_PART
    views = _codes(header, tags.VIEW_CODES)
    is_other = chest_header.is_other_view(tags.read_text(header, tags.VIEW_POSITION), views)
    return HeaderReason.VIEW if is_other else None


def _may_be_chest(header: JsonDataset) -> bool:
    regions = _codes(header, tags.REGION_CODES)
    return chest_header.may_be_chest([tags.read_text(header, tags.BODY_PART), *regions.values()], regions)


def _codes(header: JsonDataset, tag: str) -> dict[str, str]:
    """Return value and meaning of the codes of a sequence."""
    items = tags.read_items(header, tag)
    return {tags.read_text(item, tags.CODE_VALUE): tags.read_text(item, tags.CODE_MEANING) for item in items}


def _has_fitting_size(header: JsonDataset) -> bool:
    rows, columns = tags.read_number(header, tags.ROWS), tags.read_number(header, tags.COLUMNS)
    if rows is None or columns is None:
        return True
    is_small_enough = max(rows, columns) <= limits.MAX_SIDE and rows * columns <= limits.MAX_PIXELS
    return is_small_enough and min(rows, columns) >= limits.MIN_SIDE
