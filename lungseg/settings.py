"""Every LUNG_* environment variable: its name, its default, what it means, and how it is read.

`python -m lungseg.settings > docs/SETTINGS.md` writes the page of settings.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lungseg.errors import ModelError

T = TypeVar("T")
Default = TypeVar("Default")


@dataclass(frozen=True)
class Setting(Generic[T]):
    """One environment variable.

    Attributes:
        name: the variable.
        used_by: the commands, or the part of the service, that read it.
        default: in words, for the page.
        meaning: what it sets, and its syntax.
        parse: converts the text; the text of its ValueError completes the sentence "NAME must be ...".
    """

    name: str
    used_by: str
    default: str
    meaning: str
    parse: Callable[[str], T]

    def read(self, default: Default) -> T | Default:
        """Return the value, or ``default`` if the variable is not set.

        Raises:
            ModelError: the value is malformed.
        """
        text = os.environ.get(self.name)
        if text is None:
            return default
        try:
            return self.parse(text)
        except ValueError as error:
            raise ModelError(f"{self.name} must be {error}.") from None


def _whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    allowed = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum or (maximum is not None and int(text) > maximum):
            raise ValueError(f"a whole number {allowed}")
        return int(text)

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{', '.join(choices[:-1])} or {choices[-1]}")
        return text

    return parse


MODEL = Setting(
    "LUNG_MODEL",
    "everything that segments",
    "`lung_unet`",
    "The model: the path of a file, the name of one in `lungseg/model/weights`, or, on AWS, `s3://bucket/key`.",
    str,
)
MODEL_SHA256 = Setting(
    "LUNG_MODEL_SHA256",
    "the service on AWS",
    "none",
    "The SHA-256, 64 hexadecimal digits, that a model in a bucket must have.",
    str,
)
PRECISION = Setting(
    "LUNG_PRECISION",
    "everything that segments",
    "`auto`",
    "`int8`, `fp32`, or `auto`: INT8 where the processor has 8-bit dot products, else FP32.",
    _one_of("auto", "int8", "fp32"),
)
THREADS = Setting(
    "LUNG_THREADS",
    "everything that segments",
    "all cores; on AWS Lambda its vCPUs",
    "Threads for one image, at least 1.",
    _whole_number(1),
)
CONCURRENT = Setting(
    "LUNG_CONCURRENT",
    "`serve`",
    "one per core",
    "Images that each process segments concurrently, at least 1.",
    _whole_number(1),
)
WAITING = Setting(
    "LUNG_WAITING",
    "`serve`",
    "four per concurrent image",
    "Images that each process queues; it answers 503 beyond that. At least 0.",
    _whole_number(0),
)
HOSTS = Setting(
    "LUNG_HOSTS",
    "`serve`",
    "none",
    "Names the server answers to besides `localhost`, IP addresses and `--host`, separated by spaces; `*` for any.",
    str.split,
)
CORS_ORIGINS = Setting(
    "LUNG_CORS_ORIGINS",
    "the HTTP API",
    "none",
    "Origins whose pages may call the API, separated by spaces; `*` for any.",
    str.split,
)
API_KEY = Setting("LUNG_API_KEY", "`remote`, `doctor`", "none", "API key of the service that is called.", str)
TOKEN = Setting("LUNG_TOKEN", "`remote`, `doctor`", "none", "Bearer token for a JWT authorizer.", str)
DICOMWEB_USER = Setting("LUNG_DICOMWEB_USER", "`dicomweb`", "none", "User for basic authentication.", str)
DICOMWEB_PASSWORD = Setting("LUNG_DICOMWEB_PASSWORD", "`dicomweb`", "none", "Password for basic authentication.", str)
DICOMWEB_TOKEN = Setting("LUNG_DICOMWEB_TOKEN", "`dicomweb`", "none", "Bearer token of the DICOMweb server.", str)
ENTRY_POINT = Setting(
    "LUNG_DOOR",
    "the service on AWS",
    "`http`",
    "What the function imports at start: `http` for HTTP events, `records` for all others.",
    str,
)
INPUT_BUCKET = Setting("LUNG_INPUT_BUCKET", "the service on AWS", "none", "The bucket of images.", str)
OUTPUT_BUCKET = Setting(
    "LUNG_OUTPUT_BUCKET",
    "the service on AWS",
    "none",
    "The bucket of outputs; it must differ from the bucket of images.",
    str,
)
BUCKET_FORMATS = Setting(
    "LUNG_FORMATS",
    "the service on AWS",
    "`mask`",
    "Output formats to write for each image in a bucket besides the JSON document, separated by spaces.",
    str.split,
)
UPLOAD_SECONDS = Setting(
    "LUNG_UPLOAD_SECONDS",
    "the service on AWS",
    "`900`",
    "How long presigned URLs of jobs are valid, in seconds, 1 to 43,200.",
    _whole_number(1, 43_200),
)

PACS_AE_TITLE = Setting("LUNG_PACS_AET", "`pacs`", "`LUNGSEG`", "AE title of the DICOM node.", str)
PACS_PORT = Setting(
    "LUNG_PACS_PORT", "`pacs`", "`11112`", "Port of the DICOM node, 1 to 65,535.", _whole_number(1, 65_535)
)
PACS_DESTINATION = Setting(
    "LUNG_PACS_TO", "`pacs`", "none", "Where the DICOM node sends results: `AET@HOST:PORT`.", str
)
PACS_PEERS = Setting(
    "LUNG_PACS_PEERS", "`pacs`", "all", "AE titles that may send to the DICOM node, separated by commas.", str
)
PACS_FOLDER = Setting("LUNG_PACS_FOLDER", "`pacs`", "`lungseg-pacs`", "Folder of the DICOM node's queue.", str)
PACS_FORMATS = Setting(
    "LUNG_PACS_FORMATS",
    "`pacs`",
    "`dicom-seg`",
    "Output formats that the DICOM node sends, separated by spaces.",
    str.split,
)


def every_setting() -> list[Setting[object]]:
    """Return all settings in the order of this file."""
    return [each for each in globals().values() if isinstance(each, Setting)]


def settings_page() -> str:
    """Return docs/SETTINGS.md."""
    rows = [f"| `{each.name}` | {each.used_by} | {each.default} | {each.meaning} |" for each in every_setting()]
    return "\n".join(
        (
            "# Settings",
            "",
            "Set these environment variables to change what the commands, the server and the service on AWS do.",
            "On AWS, `template.yaml` sets them from its parameters. `python -m lungseg.settings` writes this page.",
            "",
            "| variable | read by | default | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        )
    )


if __name__ == "__main__":
    print(settings_page(), end="")
