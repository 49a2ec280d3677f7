"""The commands that train a model and export it: train, curve, expect, export and view."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from statistics import mean

from model_export.commands.options import (
    DEFAULT_RUN,
    DEFAULT_VIEW,
    DEFAULT_WEIGHTS,
    SHOW_DEFAULTS,
    Subparsers,
    add_data,
)
from model_export.data.layout import SPLITS


def add_training_commands(commands: Subparsers) -> None:
    """Add these commands to the parser."""
    command = commands.add_parser(
        "train",
        help="train the network",
        description="Train on the train split and keep the weights of the best epoch on the validation split. For "
        "several GPUs or machines: torchrun --nproc-per-node N -m model_export train ...",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    command.add_argument("--output", type=Path, default=DEFAULT_RUN, help="folder for checkpoints and log.csv")
    command.add_argument("--resume", action="store_true", help="continue from last.pt; pass the same settings")
    _add_settings(command)
    command.set_defaults(run=_train)

    command = commands.add_parser(
        "curve",
        help="plot a run's log",
        description="Plot loss and validation Dice per epoch, from a run's log.csv to curve.png beside it.",
        formatter_class=SHOW_DEFAULTS,
    )
    command.add_argument("--run", type=Path, default=DEFAULT_RUN, dest="folder", help="run folder written by train")
    command.set_defaults(run=_curve)

    command = commands.add_parser(
        "expect",
        help="fit the expected Dice of a mask",
        description="Fit the expected Dice to masks of held-out images, unchanged and degraded. Pass the last.pt of "
        "each fold, not best.pt: a fold's held-out images chose the epoch of its best.pt.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    command.add_argument("--models", type=Path, nargs="+", required=True, help="the last.pt of each fold")
    command.add_argument("--output", type=Path, default=Path("runs/expected_dice"), help="folder to write")
    command.add_argument(
        "--leave-out", nargs="*", default=[], metavar="ID", help="images whose reference masks are wrong"
    )
    command.add_argument("--seed", type=int, default=1, help="seed of the degradations")
    command.set_defaults(run=_expect)

    command = commands.add_parser(
        "export",
        help="write the ONNX files, FP32 and INT8",
        description="Convert a checkpoint to ONNX with its card inside, then quantise it to INT8 beside it (x.onnx "
        "and x.int8.onnx). A file is written only if it reproduces its predecessor's output on real images.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    command.add_argument("--checkpoint", type=Path, default=DEFAULT_RUN / "best.pt", help="weights to export")
    command.add_argument("--output", type=Path, default=DEFAULT_WEIGHTS, help="file to write")
    command.add_argument("--split", default="validation", choices=SPLITS, help="split on which both files are checked")
    command.add_argument("--expected-dice", type=Path, help="expected_dice.json, written by expect, for the model card")
    command.add_argument("--int8", action=argparse.BooleanOptionalAction, default=True, help="write the INT8 file")
    command.set_defaults(run=_export)

    command = commands.add_parser(
        "view",
        help="train the network that recognises orientation and frontal chest X-rays",
        description="Train on the train split and on pictures that are not frontal chest X-rays. Each folder of "
        "--others is drawn equally often, so give photographs, lateral X-rays and CT a folder each. The validation "
        "split and every tenth picture of a folder choose the epoch. Takes minutes on a CPU.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    command.add_argument(
        "--others", type=Path, nargs="+", required=True, help="folders of other pictures, at any depth"
    )
    command.add_argument("--output", type=Path, default=DEFAULT_VIEW, help="file to write")
    command.add_argument("--epochs", type=int, default=150, help="passes over the training images")
    command.add_argument("--seed", type=int, default=1, help="seed of weights, order and augmentation")
    command.add_argument(
        "--precision", default="fp32", choices=("fp32", "bf16"), help="bf16 is faster on a CPU with AVX512-BF16"
    )
    command.set_defaults(run=_view)


def _add_settings(command: argparse.ArgumentParser) -> None:
    """Add one flag for each setting of a run."""
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


# Each command imports its own dependencies, so that --help does not wait for PyTorch.


def _train(options: argparse.Namespace) -> None:
    from model_export.config import Config
    from model_export.data.index import read_index
    from model_export.train import train

    settings = {field.name: getattr(options, field.name) for field in fields(Config)}
    settings |= {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
    train(read_index(options.data), options.output, Config(**settings), options.resume)


def _curve(options: argparse.Namespace) -> None:
    from model_export.report.curve import draw_curve

    print(f"plot: {draw_curve(options.folder)}")


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
    # An INT8 file of the previous network must not be served beside the new one.
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
                f"this processor's INT8 kernels agree with float sums at Dice {mean(cost.agreements):.5f} on average "
                f"and {min(cost.agreements):.5f} at worst"
            )


def _view(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.view.train import train_view

    index, bf16 = read_index(options.data), options.precision == "bf16"
    train_view(index, options.others, options.output, options.epochs, options.seed, bf16)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB")
