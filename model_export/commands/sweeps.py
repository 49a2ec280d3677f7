"""The commands that compare settings: tune and search."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from model_export.commands.options import SHOW_DEFAULTS, Subparsers, add_data
from model_export.config import Config


def add_sweep_commands(commands: Subparsers) -> None:
    """Add these commands to the parser."""
    command = commands.add_parser(
        "tune",
        help="repeat the original project's experiments",
        description="Train the original project's network with its settings, then with one of them changed at a "
        "time, and write a report. A stopped sweep continues where it was; images of other sizes are prepared as "
        "needed.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    _add_sweep(command, Path("runs/tuning"), 30)
    command.add_argument("--size", type=int, default=512, help="the baseline's input, in pixels; divisible by 32")
    command.add_argument("--base", type=int, default=64, help="channels of the first level; fewer suit a CPU")
    command.add_argument("--max-channels", type=int, default=1024, help="channels of a level at most")
    command.add_argument("--docs", type=Path, default=Path("docs/TUNING.md"), help="document to write")
    command.add_argument("--report-only", action="store_true", help="do not train; only write the document")
    command.set_defaults(run=_tune)

    command = commands.add_parser(
        "search",
        help="compare network shapes by accuracy and speed",
        description="Train networks of several shapes alike, export and time each in FP32 and INT8, and plot "
        "validation Dice against milliseconds. A stopped search continues where it was; images of other sizes are "
        "prepared as needed.",
        formatter_class=SHOW_DEFAULTS,
    )
    add_data(command)
    _add_sweep(command, Path("runs/search"), 20)
    command.add_argument(
        "--comparison-epochs", type=int, help="epochs for the original and the plain U-Nets, if not --epochs"
    )
    command.add_argument(
        "--comparison-size",
        type=int,
        help="input size for training these, if not the prepared size; all are timed at the prepared size",
    )
    command.add_argument("--picture", type=Path, default=Path("docs/pareto.png"), help="plot to write")
    command.add_argument("--draw-only", action="store_true", help="do not train or time; only plot search.csv")
    command.set_defaults(run=_search)


def _add_sweep(command: argparse.ArgumentParser, output: Path, epochs: int) -> None:
    command.add_argument("--output", type=Path, default=output, help="folder for the runs")
    command.add_argument("--epochs", type=int, default=epochs, help="epochs for each setting")
    command.add_argument(
        "--only", nargs="+", default=(), metavar="NAME", help="only these settings; an unknown name lists them all"
    )
    (precision,) = (field for field in fields(Config) if field.name == "precision")
    command.add_argument(
        "--precision", default=precision.default, choices=precision.metadata["choices"], help="as for train"
    )
    command.add_argument("--workers", type=int, default=1, help="data loading processes")


def _tune(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.sweeps import sweep
    from model_export.sweeps.tune import tune_settings
    from model_export.sweeps.tuning_report import write_tuning_report

    failed: dict[str, str] = {}
    if not options.report_only:
        names = ("epochs", "size", "base", "max_channels", "precision", "workers")
        facts = {name: getattr(options, name) for name in names}
        failed = tune_settings(read_index(options.data), options.output, facts, tuple(options.only))
    if not failed or any(options.output.glob("*/result.json")):
        write_tuning_report(options.output, options.docs)
    sweep.raise_failures(failed)


def _search(options: argparse.Namespace) -> None:
    from model_export.data.index import read_index
    from model_export.sweeps import pareto, sweep
    from model_export.sweeps.search import search_shapes

    failed: dict[str, str] = {}
    if not options.draw_only:
        names = ("epochs", "comparison_epochs", "comparison_size", "precision", "workers")
        facts = {name: getattr(options, name) for name in names}
        failed = search_shapes(read_index(options.data), options.output, facts, tuple(options.only))
    if not failed or any(options.output.glob("*/result.json")):
        pareto.draw_pareto(options.output / "search.csv", options.picture)
    sweep.raise_failures(failed)
