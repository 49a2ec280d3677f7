"""`export`: a checkpoint becomes the one ONNX file that serving needs, if it gives the same answers."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from lungseg.files import write_atomically
from lungseg.model.card import Calibration, Card
from lungseg.model.lung import LungNetwork
from lungseg.model.preprocess import preprocess
from model_export.data.index import Index, IndexRow, read_radiograph
from model_export.network import checkpoint
from model_export.network.convert import ParityError, put_card, to_onnx, write_onnx
from model_export.network.unet import UNet

MAX_DIFFERENCE = 1e-3
"""Largest difference of a probability: ten times what reordered float32 sums give, far below what moves an edge."""


def export(
    state_file: Path,
    output: Path,
    index: Index,
    rows: list[IndexRow],
    tolerance: float = MAX_DIFFERENCE,
    expected_dice: Path | None = None,
) -> float:
    """Write the ONNX file of a checkpoint to ``output``, or nothing.

    The graph takes ``radiograph`` (1, channels, size, size) float32, standardised, and gives ``probability``
    (1, outputs, size, size) float32. The model's card is its metadata.

    Args:
        state_file: best.pt of a run.
        output: the file to write.
        index, rows: the real images that decide about parity.
        tolerance: largest difference allowed between PyTorch's and onnxruntime's probability, at any pixel.
        expected_dice: coefficients that `expect` wrote, for the card.

    Returns:
        The largest difference found.

    Raises:
        ParityError: the difference is larger.
        ValueError: there is no image to compare on, or ``expected_dice`` holds no coefficients.
    """
    if not rows:
        raise ValueError("no image to compare PyTorch and onnxruntime on")
    state = checkpoint.read_checkpoint(state_file)
    card = checkpoint.make_card(state, output.stem.replace("_", "-"))
    if expected_dice:
        coefficients, judged = _read_expected_dice(expected_dice)
        card = replace(card, expected_dice=coefficients, metrics=card.metrics | {"expected_dice": judged})
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.onnx"
        write_onnx(_convert(checkpoint.load_network(state), card), candidate)
        difference = _largest_difference(
            checkpoint.TorchModel(state_file), LungNetwork(candidate, threads=1), index, rows
        )
        if not difference <= tolerance:
            raise ParityError(
                f"onnxruntime and PyTorch differ by {difference:.2e} in probability on {len(rows)} images; at most "
                f"{tolerance:.0e} is allowed, and {output} was not written"
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, candidate.read_bytes())
    return difference


def _read_expected_dice(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `expect` wrote: the coefficients, and how good they are on patients left out."""
    try:
        facts = json.loads(path.read_text())
        return asdict(Calibration.read(facts)), facts["judged_apart"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} holds no coefficients of expect; write it anew") from None


def _convert(network: UNet, card: Card) -> onnx.ModelProto:
    """`to_onnx`, the model's card inside."""
    model = to_onnx(network, card.input)
    put_card(model, card)
    return model


def _largest_difference(
    ours: checkpoint.TorchModel, exported: LungNetwork, index: Index, rows: list[IndexRow]
) -> float:
    """Over every pixel of every image; NaN if either gives one, so that no comparison with it holds."""
    differences = []
    for row in rows:
        radiograph, _ = preprocess(read_radiograph(index, row).pixels, exported.card.input)
        differences.append(np.abs(ours(radiograph) - exported(radiograph)).max())
    return float(np.max(differences))
