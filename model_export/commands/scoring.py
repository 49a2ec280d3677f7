"""The commands that score a model: evaluate, robustness, tail, compare, verdict and report."""

from __future__ import annotations

import argparse
from pathlib import Path

from model_export.commands.options import DEFAULT_INT8, DEFAULT_RUN, SHOW_DEFAULTS, Subparsers, add_split

EVALUATION = Path("runs/evaluation")


def add_scoring_commands(commands: Subparsers) -> None:
    """Add these commands to the parser."""
    command = commands.add_parser(
        "evaluate",
        help="score a model at full image size",
        description="Segment every image of a split as the service does, from file to mask, and compare with its "
        "reference mask.",
        formatter_class=SHOW_DEFAULTS,
    )
    _add_model(command, EVALUATION)
    command.set_defaults(run=_evaluate)

    command = commands.add_parser(
        "robustness",
        help="score a model on modified images",
        description="Invert, darken, blur, shrink, crop and rotate every image of a split, and score its mask.",
        formatter_class=SHOW_DEFAULTS,
    )
    _add_model(command, EVALUATION)
    command.set_defaults(run=_robustness)

    command = commands.add_parser(
        "tail",
        help="score the worst images, and failures that the verdict accepts",
        description="Print the 5th percentile and the worst image of each set, failures that the verdict accepts, "
        "and lung outside fields. With the last.pt of each fold, each image is scored by the model that never saw "
        "it.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_split(command)
    command.add_argument("--models", type=Path, nargs="+", required=True, help="one model, or the last.pt of each fold")
    command.add_argument("--output", type=Path, default=Path("runs/tail"), help="folder for tables and pictures")
    command.set_defaults(run=_tail, split="validation")

    command = commands.add_parser(
        "compare",
        help="score several models on the same images",
        description="Print one line for each model and one column for each set: how training at one hospital carries "
        "over to another.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_split(command)
    command.add_argument("--models", type=Path, nargs="+", required=True, help="exported .onnx or checkpoints .pt")
    command.add_argument("--output", type=Path, default=Path("runs/compare"), help="folder for the table")
    command.set_defaults(run=_compare)

    command = commands.add_parser(
        "verdict",
        help="score the verdicts",
        description="Count accepted images, unchanged and inverted, rotated and mirrored, with the Dice of their "
        "masks; and the verdicts on pictures that are not frontal chest X-rays.",
        formatter_class=SHOW_DEFAULTS,
    )
    _add_model(command, Path("runs/verdict"))
    command.add_argument(
        "--others",
        type=Path,
        nargs="*",
        default=[],
        metavar="FOLDER",
        help="folders of pictures that are not frontal chest X-rays",
    )
    command.set_defaults(run=_verdict)

    command = commands.add_parser(
        "report",
        help="write the report, and the model and data cards",
        description="Score an exported model, its robustness and other models, and write one HTML page with curves, "
        "distributions, calibration and images. The page shows images: do not publish it.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_split(command)
    command.add_argument("--model", type=Path, default=DEFAULT_INT8, help="an exported .onnx")
    command.add_argument(
        "--run", dest="trained", type=Path, default=DEFAULT_RUN, help="run folder that the model came from"
    )
    command.add_argument("--others", type=Path, nargs="*", default=[], help="models to compare it with, .onnx or .pt")
    command.add_argument("--output", type=Path, default=Path("runs/report"), help="folder for the page and its tables")
    command.add_argument("--cards", type=Path, help="folder for MODEL_CARD.md and DATA_CARD.md")
    command.set_defaults(run=_report)


def _add_model(command: argparse.ArgumentParser, output: Path) -> None:
    add_split(command)
    command.add_argument("--model", type=Path, default=DEFAULT_INT8, help="an exported .onnx or a checkpoint .pt")
    command.add_argument("--output", type=Path, default=output, help="folder for tables and pictures")


# Each command imports its own dependencies, so that --help does not wait for PyTorch.


def _evaluate(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.evaluate import evaluate
    from model_export.network.checkpoint import read_model

    index = read_index(options.data)
    evaluate(index, index.select_scored(options.split), read_model(options.model), options.output)


def _robustness(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.network.checkpoint import read_model
    from model_export.report.robustness import measure_robustness

    index = read_index(options.data)
    measure_robustness(index, index.select_scored(options.split), read_model(options.model), options.output)


def _tail(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.report.tail import pair_with_models, score_tail

    index = read_index(options.data)
    score_tail(index, list(pair_with_models(index, options.models, options.split)), options.output)
    print(f"tables and pictures: {options.output}")


def _compare(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.network.checkpoint import read_model
    from model_export.report.compare import compare_models, label_model

    index = read_index(options.data)
    models = {label_model(path, model): model for path in options.models for model in [read_model(path)]}
    compare_models(index, index.select_scored(options.split), models, options.output)


def _verdict(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.network.checkpoint import read_model
    from model_export.report.verdict import judge_verdicts

    index = read_index(options.data)
    judge_verdicts(index, index.select_scored(options.split), options.others, read_model(options.model), options.output)


def _report(options: argparse.Namespace) -> None:
    from lungseg.model.lung import LungNetwork
    from model_export.data.index import read_index
    from model_export.network.checkpoint import read_model
    from model_export.report.compare import label_model
    from model_export.report.page import write_model_report

    index, network = read_index(options.data), read_model(options.model)
    if not isinstance(network, LungNetwork):
        raise ValueError(f"{options.model} is a checkpoint; export it first, the report needs an .onnx")
    others = {label_model(path, model): model for path in options.others for model in [read_model(path)]}
    rows = index.select_scored(options.split)
    write_model_report(index, rows, network, options.trained, others, options.output, options.cards)
