"""The commands that make a model: prepare, train, curve, expect, export, label and view."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from statistics import mean

from model_export.commands.options import (
    DEFAULT_DATA,
    DEFAULT_RUN,
    DEFAULT_VIEW,
    DEFAULT_WEIGHTS,
    SHOW_DEFAULTS,
    Subparsers,
    add_data,
)
from model_export.data.layout import SPLITS


def add_training_commands(commands: Subparsers) -> None:
    """Add them to the parser."""
    command = commands.add_parser(
        "prepare",
        help="letterbox images and masks, and split them",
        description="Find the Montgomery and Shenzhen images below --input (the layout of the public Kaggle sets, images "
        "of any size; /kaggle/input works as it is) and write them as squares with their masks and an index.",
        formatter_class=SHOW_DEFAULTS,
    )
    command.add_argument("--input", type=Path, help="folder with the public sets")
    command.add_argument(
        "--more",
        nargs="+",
        default=[],
        metavar="FOLDER[:KIND]",
        help="further hospitals: folders with images/, masks/ and index.csv (id, patient, split; finding, licence, "
        "kind); KIND is what the masks hold where index.csv does not say it: lung, field (lungs and heart), or none",
    )
    command.add_argument("--output", type=Path, default=DEFAULT_DATA, help="folder to write")
    command.add_argument("--size", type=int, default=512, help="side of the squares, in pixels")
    command.add_argument(
        "--splits", type=Path, help="folder with <set>/{train,validation,test}.txt; without it the split is drawn"
    )
    command.add_argument("--seed", type=int, default=1, help="of the drawn split")
    command.add_argument("--test-share", type=float, default=0.2, help="set aside first; the rest is split 80:20")
    command.add_argument(
        "--quality", type=Path, help="CSV with id and verdict (bad, doubtful) of masks that look wrong"
    )
    command.add_argument("--workers", type=int, default=2, help="threads")
    command.set_defaults(run=_prepare)

    command = commands.add_parser(
        "train",
        help="train the network",
        description="Train on the train split and keep the weights with the best validation Dice. For several GPUs or "
        "machines: torchrun --nproc-per-node N -m model_export train ...",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    command.add_argument("--output", type=Path, default=DEFAULT_RUN, help="folder for checkpoints and log.csv")
    command.add_argument("--resume", action="store_true", help="go on from last.pt; pass the same settings")
    _add_settings(command)
    command.set_defaults(run=_train)

    command = commands.add_parser(
        "curve",
        help="draw a run's log",
        description="Draw loss and validation Dice by epoch, from log.csv to curve.png beside it.",
        formatter_class=SHOW_DEFAULTS,
    )
    command.add_argument("--run", type=Path, default=DEFAULT_RUN, dest="folder", help="folder made by train")
    command.set_defaults(run=_curve)

    command = commands.add_parser(
        "expect",
        help="learn how good a mask may be expected to be",
        description="Learn the expected Dice from masks of images that their network never saw, as they are and made "
        "worse. Give the last.pt of each fold: the images of a best.pt's fold chose its epoch.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    command.add_argument("--models", type=Path, nargs="+", required=True, help="the last.pt of each fold")
    command.add_argument("--output", type=Path, default=Path("runs/expected_dice"), help="folder to write")
    command.add_argument("--leave-out", nargs="*", default=[], metavar="ID", help="images whose own masks are wrong")
    command.add_argument("--seed", type=int, default=1, help="decides how images are made worse")
    command.set_defaults(run=_expect)

    command = commands.add_parser(
        "export",
        help="write the ONNX files, FP32 and INT8",
        description="Convert a checkpoint to ONNX, its card inside, and quantise that to INT8 beside it (x.onnx and "
        "x.int8.onnx). A file is not written if it does not give its forerunner's answers on real images.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    command.add_argument("--checkpoint", type=Path, default=DEFAULT_RUN / "best.pt", help="weights to export")
    command.add_argument("--output", type=Path, default=DEFAULT_WEIGHTS, help="file to write")
    command.add_argument("--split", default="validation", choices=SPLITS, help="images on which both files are checked")
    command.add_argument("--expected-dice", type=Path, help="expected_dice.json, made by expect, for the model's card")
    command.add_argument("--int8", action=argparse.BooleanOptionalAction, default=True, help="write the INT8 file")
    command.set_defaults(run=_export)

    command = commands.add_parser(
        "label",
        help="let a model draw the masks of a set",
        description="Copy a prepared folder with the masks of some sets replaced by those that a model draws, to train "
        "on images without using their own masks (self-training).",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    command.add_argument("--model", type=Path, required=True, help="an exported .onnx or a checkpoint .pt")
    command.add_argument("--sources", nargs="+", default=["shenzhen"], help="sets to label")
    command.add_argument("--output", type=Path, default=Path("data/labelled"), help="folder to write")
    command.set_defaults(run=_label)

    command = commands.add_parser(
        "view",
        help="train the network that tells how an image lies, and if it is one",
        description="Train on the train split, and on pictures that are no frontal chest images. Every folder of "
        "--others is shown equally often: give photographs, lateral images and CT one each. The validation split "
        "chooses, with every tenth picture of a folder. It takes minutes on a CPU.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    command.add_argument("--others", type=Path, nargs="+", required=True, help="folders of other pictures, any depth")
    command.add_argument("--output", type=Path, default=DEFAULT_VIEW, help="file to write")
    command.add_argument("--epochs", type=int, default=150, help="how often each image is shown")
    command.add_argument("--seed", type=int, default=1, help="decides weights, order and augmentation")
    command.add_argument(
        "--precision", default="fp32", choices=("fp32", "bf16"), help="bf16 is faster on a CPU with AVX512-BF16"
    )
    command.set_defaults(run=_view)


def _add_settings(command: argparse.ArgumentParser) -> None:
    """One flag for each setting of a run."""
    from model_export.config import Config

    for field in fields(Config):
        name = f"--{field.name.replace('_', '-')}"
        if isinstance(field.default, bool):
            command.add_argument(
                name, action=argparse.BooleanOptionalAction, default=field.default, help=field.metadata["help"]
            )
        elif isinstance(field.default, tuple):
            command.add_argument(name, nargs="*", default=field.default, help=field.metadata["help"])
        else:
            command.add_argument(
                name,
                type=type(field.default),
                default=field.default,
                choices=field.metadata["choices"],
                help=field.metadata["help"],
            )


# Each command imports what it needs: --help should not wait for PyTorch.


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
        [_hospital(name) for name in options.more],
    )


def _hospital(name: str) -> tuple[Path, str | None]:
    """A folder and the kind behind its colon, if there is one."""
    from model_export.data.hospital import MASK_KINDS

    folder, _, kind = name.rpartition(":")
    # Resolved, because a set is called as its folder is, and "." has no name.
    return (Path(folder).resolve(), kind) if folder and kind in MASK_KINDS else (Path(name).resolve(), None)


def _train(options: argparse.Namespace) -> None:
    from model_export.config import Config
    from model_export.data.index import read_index
    from model_export.train import train

    settings = {field.name: getattr(options, field.name) for field in fields(Config)}
    settings |= {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
    train(read_index(options.data), options.output, Config(**settings), options.resume)


def _curve(options: argparse.Namespace) -> None:
    from model_export.report.curve import draw_curve

    print(f"picture: {draw_curve(options.folder)}")


def _expect(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.report.expect import learn_expected_dice

    learn_expected_dice(
        read_index(options.data), options.models, options.output, tuple(options.leave_out), options.seed
    )
    print(f"coefficients: {options.output / 'expected_dice.json'}")


def _export(options: argparse.Namespace) -> None:
    from lungseg.model.lung import int8_path
    from model_export.config import Config
    from model_export.data.index import read_index
    from model_export.export import export
    from model_export.network.quantise import quantise

    index = read_index(options.data)
    rows = index.select_scored(options.split)
    difference = export(options.checkpoint, options.output, index, rows, expected_dice=options.expected_dice)
    megabytes = options.output.stat().st_size / 1e6
    print(
        f"{options.output}: {megabytes:.2f} MB; differs from PyTorch by at most {difference:.1e} in probability on "
        f"{len(rows)} images"
    )

    quantised = int8_path(options.output)
    # What lies there belongs to the network before this one.
    quantised.unlink(missing_ok=True)
    if options.int8:
        calibration = index.select("train", Config().leave_out)
        cost = quantise(options.output, quantised, index, calibration, rows)
        megabytes = quantised.stat().st_size / 1e6
        print(
            f"{quantised}: {megabytes:.2f} MB; INT8 loses {cost.mean:+.5f} Dice on average and {cost.highest:+.5f} at "
            f"worst on {len(rows)} images"
        )
        if cost.agreements:
            print(
                f"this processor's INT8 kernels and float sums agree at Dice {mean(cost.agreements):.5f} on average "
                f"and {min(cost.agreements):.5f} at worst"
            )


def _label(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.data.label import label_images
    from model_export.network.checkpoint import read_model

    index = read_index(options.data)
    label_images(index, read_model(options.model), tuple(options.sources), options.output)
    print(f"masks of {', '.join(options.sources)} drawn by {options.model} in {options.output}")


def _view(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.view.train import train_view

    index, bf16 = read_index(options.data), options.precision == "bf16"
    train_view(index, options.others, options.output, options.epochs, options.seed, bf16)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB")
