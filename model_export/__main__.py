"""`python -m model_export`: from the public films to the model that the service carries.

    python -m model_export prepare --input data/input --splits data/splits    films -> data/prepared
    python -m model_export train                                              data/prepared -> runs/lung_unet
    python -m model_export export                                             best.pt -> app/weights/lung_unet.onnx
    python -m model_export evaluate                                           scores and pictures -> runs/evaluation
    python -m model_export robustness                                         the same on changed films
    python -m model_export compare --models runs/*/best.pt                    several models on the same films
    python -m model_export label --model runs/montgomery/best.pt              masks by a model, for self-training

Each command's --help tells its settings.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.pipeline import Model

PREPARED = Path("data/prepared")
RUN = Path("runs/lung_unet")
EVALUATION = Path("runs/evaluation")
WEIGHTS = Path("app/weights/lung_unet.onnx")
INT8 = Path("app/weights/lung_unet.int8.onnx")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 if it was done, 2 and one line on standard error if it could not be."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    raw, defaults = argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m model_export", description=__doc__, formatter_class=raw)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "prepare",
        help="letterbox films and masks, and split them",
        description="Find the Montgomery and Shenzhen films below --input (the layout of the public Kaggle sets, films "
        "of any size; /kaggle/input works as it is) and write them as squares with their masks and an index.",
        formatter_class=defaults,
    )
    command.add_argument("--input", type=Path, required=True, help="folder with the public sets")
    command.add_argument("--output", type=Path, default=PREPARED, help="folder to write")
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
        formatter_class=defaults,
    )
    _add_data(command)
    command.add_argument("--output", type=Path, default=RUN, help="folder for checkpoints and log.csv")
    command.add_argument("--resume", action="store_true", help="go on from last.pt; pass the same settings")
    _add_settings(command)
    command.set_defaults(run=_train)

    command = commands.add_parser(
        "export",
        help="write the ONNX files, FP32 and INT8",
        description="Convert a checkpoint to ONNX, its card inside, and quantise that to INT8 beside it (x.onnx and "
        "x.int8.onnx). A file is not written if it does not give its forerunner's answers on real films.",
        formatter_class=defaults,
    )
    _add_data(command)
    command.add_argument("--checkpoint", type=Path, default=RUN / "best.pt", help="weights to export")
    command.add_argument("--output", type=Path, default=WEIGHTS, help="file to write")
    command.add_argument("--split", default="validation", help="films on which both files are checked")
    command.add_argument("--int8", action=argparse.BooleanOptionalAction, default=True, help="write the INT8 file")
    command.set_defaults(run=_export)

    command = commands.add_parser(
        "evaluate",
        help="score a model at the films' own size",
        description="Segment every film of a split, from its file to its mask as the service does it, and compare.",
        formatter_class=defaults,
    )
    _add_model(command, EVALUATION)
    command.set_defaults(run=_evaluate)

    command = commands.add_parser(
        "robustness",
        help="score a model on changed films",
        description="Invert, darken, blur, shrink, crop, rotate and turn every film of a split, and score its mask.",
        formatter_class=defaults,
    )
    _add_model(command, EVALUATION)
    command.set_defaults(run=_robustness)

    command = commands.add_parser(
        "compare",
        help="score several models on the same films",
        description="One line for each model, one column for each set: what training on one hospital's films is worth "
        "at another.",
        formatter_class=defaults,
    )
    _add_films(command)
    command.add_argument("--models", type=Path, nargs="+", required=True, help="exported .onnx or checkpoints .pt")
    command.add_argument("--output", type=Path, default=Path("runs/compare"), help="folder for the table")
    command.set_defaults(run=_compare)

    command = commands.add_parser(
        "label",
        help="let a model draw the masks of a set",
        description="Copy a prepared folder with the masks of some sets replaced by those that a model draws, to train "
        "on films without using their own masks (self-training).",
        formatter_class=defaults,
    )
    _add_data(command)
    command.add_argument("--model", type=Path, required=True, help="an exported .onnx or a checkpoint .pt")
    command.add_argument("--sources", nargs="+", default=["shenzhen"], help="sets to label")
    command.add_argument("--output", type=Path, default=Path("data/labelled"), help="folder to write")
    command.set_defaults(run=_label)
    return parser


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data", type=Path, default=PREPARED, help="folder made by prepare")


def _add_films(command: argparse.ArgumentParser) -> None:
    _add_data(command)
    command.add_argument("--split", default="test", help="train, validation or test")


def _add_model(command: argparse.ArgumentParser, output: Path) -> None:
    _add_films(command)
    command.add_argument("--model", type=Path, default=INT8, help="an exported .onnx or a checkpoint .pt")
    command.add_argument("--output", type=Path, default=output, help="folder for tables and pictures")


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
    )


def _train(options: argparse.Namespace) -> None:
    from model_export.config import Config
    from model_export.prepare import read_index
    from model_export.train import train

    settings = {field.name: getattr(options, field.name) for field in fields(Config)}
    settings |= {name: tuple(settings[name]) for name in ("leave_out", "sources")}
    train(read_index(options.data), options.output, Config(**settings), options.resume)


def _export(options: argparse.Namespace) -> None:
    from app.network import int8_path
    from model_export.config import Config
    from model_export.export import export
    from model_export.prepare import read_index
    from model_export.quantise import quantise

    index = read_index(options.data)
    rows = index.select(options.split)
    difference = export(options.checkpoint, options.output, index, rows)
    megabytes = options.output.stat().st_size / 1e6
    print(
        f"{options.output}: {megabytes:.2f} MB; differs from PyTorch by at most {difference:.1e} in probability on "
        f"{len(rows)} films"
    )

    quantised = int8_path(options.output)
    # What lies there belongs to the network before this one.
    quantised.unlink(missing_ok=True)
    if options.int8:
        calibration = index.select("train", Config().leave_out)
        cost = quantise(options.output, quantised, index, calibration, rows)
        megabytes = quantised.stat().st_size / 1e6
        print(
            f"{quantised}: {megabytes:.2f} MB; INT8 loses {cost.mean:+.5f} Dice on average and {cost.worst:+.5f} at "
            f"worst on {len(rows)} films"
        )


def _evaluate(options: argparse.Namespace) -> None:
    from model_export.evaluate import evaluate
    from model_export.prepare import read_index

    index = read_index(options.data)
    evaluate(index, index.select(options.split), _read_model(options.model), options.output)


def _robustness(options: argparse.Namespace) -> None:
    from model_export.prepare import read_index
    from model_export.robustness import robustness

    index = read_index(options.data)
    robustness(index, index.select(options.split), _read_model(options.model), options.output)


def _compare(options: argparse.Namespace) -> None:
    from model_export.compare import compare, trained_on
    from model_export.prepare import read_index

    index = read_index(options.data)
    models = {trained_on(path, model): model for path in options.models for model in [_read_model(path)]}
    compare(index, index.select(options.split), models, options.output)


def _label(options: argparse.Namespace) -> None:
    from model_export.label import label
    from model_export.prepare import read_index

    index = read_index(options.data)
    label(index, _read_model(options.model), tuple(options.sources), options.output)
    print(f"masks of {', '.join(options.sources)} drawn by {options.model} in {options.output}")


def _read_model(path: Path) -> Model:
    """A model of either kind, on one thread: its scores are those of the smallest machine that serves it."""
    from app.errors import ModelError
    from app.network import Network
    from model_export.checkpoint import TorchModel

    try:
        return TorchModel(path) if path.suffix == ".pt" else Network(path, threads=1)
    except ModelError as error:
        raise ValueError(f"{path}: {error}") from None


if __name__ == "__main__":
    raise SystemExit(main())
