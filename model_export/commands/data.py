"""The commands that prepare data: prepare and label."""

from __future__ import annotations

import argparse
from pathlib import Path

from model_export.commands.options import DEFAULT_DATA, SHOW_DEFAULTS, Subparsers, add_data


def add_data_commands(commands: Subparsers) -> None:
    """Add these commands to the parser."""
    command = commands.add_parser(
        "prepare",
        help="letterbox images and masks, and split them",
        description="Find the Montgomery and Shenzhen images below --input (in the layout of the public Kaggle sets, "
        "at any size; /kaggle/input works as is) and write them as squares with their masks and an index.",
        formatter_class=SHOW_DEFAULTS,
    )
    command.add_argument("--input", type=Path, help="folder with the public sets")
    command.add_argument(
        "--more",
        nargs="+",
        default=[],
        metavar="FOLDER[:KIND]",
        help="further hospitals: folders with images/, masks/ and index.csv (id, patient, split; finding, licence, "
        "kind). KIND is what the masks hold where index.csv has no kind: lung, field (lungs and heart) or none",
    )
    command.add_argument(
        "--licences",
        nargs="+",
        default=[],
        metavar="LICENCE",
        help="take only those images of --more whose column licence is one of these, such as 'CC BY 4.0'; all if none "
        "is named",
    )
    command.add_argument("--output", type=Path, default=DEFAULT_DATA, help="folder to write")
    command.add_argument("--size", type=int, default=512, help="side of the squares, in pixels")
    command.add_argument(
        "--splits", type=Path, help="folder with <set>/{train,validation,test}.txt; without it, a split is drawn"
    )
    command.add_argument("--seed", type=int, default=1, help="seed of the drawn split")
    command.add_argument(
        "--test-share", type=float, default=0.2, help="share set aside for testing; the rest is split 80:20"
    )
    command.add_argument(
        "--quality", type=Path, help="CSV with the columns id and verdict (bad, doubtful) of masks that look wrong"
    )
    command.add_argument("--workers", type=int, default=2, help="threads")
    command.set_defaults(run=_prepare)

    command = commands.add_parser(
        "label",
        help="predict the masks of a set with a model",
        description="Copy a prepared folder and replace the masks of some sets by a model's predictions, to train on "
        "images without their own masks (self-training).",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    command.add_argument("--model", type=Path, required=True, help="an exported .onnx or a checkpoint .pt")
    command.add_argument("--sources", nargs="+", default=["shenzhen"], help="sets to label")
    command.add_argument("--output", type=Path, default=Path("data/labelled"), help="folder to write")
    command.set_defaults(run=_label)


# Each command imports its own dependencies, so that --help does not wait for PyTorch.


def _prepare(options: argparse.Namespace) -> None:
    from model_export.prepare import prepare

    prepare(
        options.input,
        options.output,
        options.size,
        options.splits,
        options.seed,
        options.test_share,
        options.quality,
        options.workers,
        [_parse_hospital(name) for name in options.more],
        options.licences,
    )


def _parse_hospital(name: str) -> tuple[Path, str | None]:
    """Return a folder, and the kind behind its colon if there is one."""
    from model_export.data.hospital import MASK_KINDS

    folder, _, kind = name.rpartition(":")
    # Resolved, because a set is named after its folder and "." has no name.
    return (Path(folder).resolve(), kind) if folder and kind in MASK_KINDS else (Path(name).resolve(), None)


def _label(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.data.label import label_images
    from model_export.network.checkpoint import read_model

    index = read_index(options.data)
    label_images(index, read_model(options.model), tuple(options.sources), options.output)
    print(f"{options.output}: masks of {', '.join(options.sources)} predicted by {options.model}")
