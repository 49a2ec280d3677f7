"""What the commands of `python -m model_export` share: where things lie by default, common flags, reading a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from model_export.data.layout import SPLITS

if TYPE_CHECKING:
    from lungseg.pipeline.segment import Segmenter

PREPARED = Path("data/prepared")
RUN = Path("runs/lung_unet")
WEIGHTS = Path("lungseg/model/weights/lung_unet.onnx")
INT8 = Path("lungseg/model/weights/lung_unet.int8.onnx")
VIEW = Path("lungseg/model/weights/view.onnx")

DEFAULTS = argparse.ArgumentDefaultsHelpFormatter

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` gives; argparse has no public name for it."""


def add_data(command: argparse.ArgumentParser) -> None:
    """--data"""
    command.add_argument("--data", type=Path, default=PREPARED, help="folder made by prepare")


def add_films(command: argparse.ArgumentParser) -> None:
    """--data and --split"""
    add_data(command)
    command.add_argument("--split", default="test", choices=SPLITS, help="images to use")


def read_model(path: Path) -> Segmenter:
    """Return a checkpoint or an exported model, on one thread.

    An INT8 model is computed in floats where this processor's own 8-bit sums would saturate: its scores are then those
    of the processors that serve it.
    """
    from lungseg.errors import ModelError
    from lungseg.model import processor
    from lungseg.model.network import Network
    from model_export.network.checkpoint import TorchModel

    if path.suffix == ".pt":
        return TorchModel(path)
    try:
        model = Network(path, threads=1)
        if model.card.precision == "int8" and not processor.dot_products():
            return Network(path, threads=1, float_sums=True)
        return model
    except ModelError as error:
        raise ValueError(f"{path}: {error}") from None
