"""Where `segment` writes the outputs of each image, checked before any work is done."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from lungseg import errors
from lungseg.cli.common import CommandError
from lungseg.cli.output import check_outputs, path_beside
from lungseg.encode.formats import FORMATS
from lungseg.encode.naming import FORMAT_SUFFIXES, format_of_suffix, output_path

OTHER_SUFFIXES = (".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".nii", ".npy")
"""Suffixes of files that people ask for, and that are not written."""


@dataclass(frozen=True)
class Destination:
    """The outputs of one image.

    Attributes:
        image: its path as it was typed; "-" is standard input.
        outputs: the path of each output by its format; "-" is standard output.
        is_named: whether the user named the output; a symlink at its path is then followed, else replaced.
    """

    image: str
    outputs: dict[str, str]
    is_named: bool


def plan_outputs(arguments: argparse.Namespace) -> list[Destination]:
    """Return the destination of each image of the command line. A folder that ends with a slash is created.

    Raises:
        CommandError, Unwritable: as for `check_outputs`, or the options contradict each other.
    """
    images: list[str] = list(dict.fromkeys(arguments.images))
    if "-" in images and len(images) > 1:
        raise CommandError("- reads one image from standard input; name no other image beside it")
    if arguments.overlay == "-":
        raise CommandError("only one output can go to standard output; name a file for --overlay")
    if arguments.overlay and len(images) > 1:
        raise CommandError("--overlay names one file; with several images use --format overlay")
    for image in images:
        if image != "-" and Path(image).is_dir():
            name = "FILE" if len(images) == 1 else "one of the files"
            raise CommandError(f"{name} is a folder; to segment every image in it, run: lungseg batch IN_DIR OUT_DIR")
    destinations = _plan(images, arguments.output or "", arguments.format)
    outputs = [(path, FORMATS[name]) for each in destinations for name, path in each.outputs.items()]
    if arguments.overlay:
        outputs.append((arguments.overlay, FORMATS["overlay"]))
    check_outputs([image for image in images if image != "-"], outputs)
    return destinations


def _plan(images: list[str], output: str, chosen: list[str] | None) -> list[Destination]:
    """Return the destinations for -o ``output``, and the formats that were ``chosen``."""
    formats = list(dict.fromkeys(chosen or ["mask"]))
    is_folder = output not in ("", "-") and os.path.isdir(output)  # noqa: PTH112 -- takes any text
    if is_folder or output.endswith(("/", os.sep)):
        return _plan_folder(images, output, formats)
    if output in ("", "-") and (images == ["-"] or output == "-"):
        if len(formats) > 1 or (len(images) > 1 and not FORMATS[formats[0]].is_json):
            raise CommandError("only one output can go to standard output, or the JSON of several images")
        return [Destination(image, {formats[0]: "-"}, True) for image in images]
    if not output:
        return [
            Destination(image, {name: path_beside(image, FORMATS[name]) for name in formats}, False) for image in images
        ]
    if len(images) * len(formats) > 1:
        raise CommandError("-o names one file, and there are several outputs; name a folder, such as -o masks/")
    asked = format_of_suffix(Path(output).name)
    name = asked.name if asked is not None and not chosen else formats[0]
    _check_suffix(output, name)
    return [Destination(images[0], {name: output}, True)]


def _plan_folder(images: list[str], folder: str, formats: list[str]) -> list[Destination]:
    if images == ["-"]:
        raise CommandError("an image from standard input has no name; name a file with -o, not a folder")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.Unwritable(f"The output folder cannot be made ({error.strerror}).") from None
    return [
        Destination(
            image,
            {name: str(Path(folder, output_path(Path(image).name, FORMATS[name].suffix))) for name in formats},
            False,
        )
        for image in images
    ]


def _check_suffix(output: str, name: str) -> None:
    """Refuse a suffix that promises another kind of file.

    Raises:
        CommandError.
    """
    suffix, right = Path(output).suffix.lower(), _last_suffix(FORMATS[name].suffix)
    if suffix in {*OTHER_SUFFIXES, *map(_last_suffix, FORMAT_SUFFIXES)} and suffix != right:
        raise CommandError(f"{name} is written as {right}, not {suffix}; name a file that ends with {right}")


def _last_suffix(suffix: str) -> str:
    """Return .png of .mask.png."""
    return f".{suffix.rpartition('.')[2]}"
