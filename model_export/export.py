"""`export`: convert a checkpoint to the ONNX file that is served, if both agree on real images."""

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
"""Largest difference of a probability: ten times that of reordered float32 sums, far below what moves an edge."""


def export(
    state_file: Path,
    output: Path,
    index: Index,
    rows: list[IndexRow],
    tolerance: float = MAX_DIFFERENCE,
    expected_dice: Path | None = None,
) -> float:
    """Write the ONNX file of a checkpoint to ``output`` if it passes the parity check.

    The graph takes ``radiograph`` (1, channels, size, size) float32, standardised, and returns ``probability``
    (1, outputs, size, size) float32. The model card is in its metadata.

    Args:
        state_file: best.pt of a run.
        output: the file to write.
        index, rows: the real images of the parity check.
        tolerance: largest difference allowed between PyTorch's and onnxruntime's probability, at any pixel.
        expected_dice: coefficients written by `expect`, for the card.

    Returns:
        The largest difference found.

    Raises:
        ParityError: the difference is larger.
        ValueError: there is no image to compare on, or ``expected_dice`` has no coefficients.
    """
    if not rows:
        raise ValueError(
            "no image to compare PyTorch and onnxruntime on; prepare images for this split or name another --split"
        )
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
    """Return the coefficients that `expect` wrote, and their figures on held-out patients."""
    try:
        facts = json.loads(path.read_text())
        return asdict(Calibration.read(facts)), facts["held_out"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} has no coefficients; write it with: python -m model_export expect") from None


def _convert(network: UNet, card: Card) -> onnx.ModelProto:
    """Convert a network and put its card inside."""
    model = to_onnx(network, card.input)
    put_card(model, card)
    return model


def _largest_difference(
    ours: checkpoint.TorchModel, exported: LungNetwork, index: Index, rows: list[IndexRow]
) -> float:
    """Return the maximum over all pixels of all images; NaN if either model returns one, which fails any comparison."""
    differences = []
    for row in rows:
        radiograph, _ = preprocess(read_radiograph(index, row).pixels, exported.card.input)
        differences.append(np.abs(ours(radiograph) - exported(radiograph)).max())
    return float(np.max(differences))
