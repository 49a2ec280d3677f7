"""What the commands of `python -m model_export` share: where things lie by default, common flags, reading a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from model_export.layout import SPLITS

if TYPE_CHECKING:
    from app.pipeline import Segmenter

PREPARED = Path("data/prepared")
RUN = Path("runs/lung_unet")
WEIGHTS = Path("app/weights/lung_unet.onnx")
INT8 = Path("app/weights/lung_unet.int8.onnx")
VIEW = Path("app/weights/view.onnx")

DEFAULTS = argparse.ArgumentDefaultsHelpFormatter

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` gives; argparse has no public name for it."""


def add_data(command: argparse.ArgumentParser) -> None:
    """--data"""
    command.add_argument("--data", type=Path, default=PREPARED, help="folder made by prepare")


def add_films(command: argparse.ArgumentParser) -> None:
    """--data and --split"""
    add_data(command)
    command.add_argument("--split", default="test", choices=SPLITS, help="films to use")


def read_model(path: Path) -> Segmenter:
    """A model of either kind, on one thread: its scores are those of the smallest machine that serves it."""
    from app.errors import ModelError
    from app.network import Network
    from model_export.checkpoint import TorchModel

    try:
        return TorchModel(path) if path.suffix == ".pt" else Network(path, threads=1)
    except ModelError as error:
        raise ValueError(f"{path}: {error}") from None
