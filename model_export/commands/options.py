"""Default paths and common flags of the commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

from model_export.data.layout import SPLITS

DEFAULT_DATA = Path("data/prepared")
DEFAULT_RUN = Path("runs/lung_unet")
DEFAULT_WEIGHTS = Path("lungseg/model/weights/lung_unet.onnx")
DEFAULT_INT8 = Path("lungseg/model/weights/lung_unet.int8.onnx")
DEFAULT_VIEW = Path("lungseg/model/weights/view.onnx")

SHOW_DEFAULTS = argparse.ArgumentDefaultsHelpFormatter

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What `add_subparsers` returns; argparse has no public name for it."""


def add_data(command: argparse.ArgumentParser) -> None:
    """Add --data."""
    command.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder written by prepare")


def add_split(command: argparse.ArgumentParser) -> None:
    """Add --data and --split."""
    add_data(command)
    command.add_argument("--split", default="test", choices=SPLITS, help="split to use")
