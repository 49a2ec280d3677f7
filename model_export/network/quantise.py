"""Quantise FP32 to INT8, if that costs almost no Dice.

Static quantisation in QDQ format, weights signed and per channel, activations unsigned: the only variant that is fast
on processors with 8-bit dot products (2 to 3 times; with signed activations 1.1 to 1.3).

The file is written and checked with float sums (`session.open_session`), so every processor writes the same network
and the same expected self-check output. A processor with 8-bit dot products also compares its own kernels with them.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from tqdm import tqdm

from lungseg.files import write_atomically
from lungseg.model import processor, selfcheck
from lungseg.model.card import Card
from lungseg.model.lung import LungNetwork
from lungseg.model.models import Models
from lungseg.model.preprocess import preprocess
from lungseg.pipeline.segment import segment
from model_export.data.index import Index, IndexRow, read_radiograph, read_target
from model_export.network.convert import put_card, write_onnx
from model_export.scores import metrics

MAX_CALIBRATION_IMAGES = 50
"""Training images for calibration; more of them change the ranges by less than the rounding of weights does."""

MAX_MEAN_LOSS = 0.002
MAX_LOSS = 0.02
"""Dice that quantisation may cost, on average and on a single image."""

MIN_MEAN_AGREEMENT = 0.999
MIN_AGREEMENT = 0.99
"""Dice between the masks of float sums and of this processor's 8-bit kernels, on average and at worst."""


class GateError(ValueError):
    """The INT8 model is worse than allowed; it was not written."""


@dataclass(frozen=True)
class QuantisationLoss:
    """Dice lost to quantisation: the mean and the highest loss over the gate's images.

    ``agreements``: Dice between the masks of float sums and of this processor's 8-bit kernels, one per image; empty if
    the processor has no 8-bit dot products.
    """

    mean: float
    highest: float
    agreements: tuple[float, ...]


def quantise(
    weights: Path, output: Path, index: Index, calibration: list[IndexRow], gate: list[IndexRow]
) -> QuantisationLoss:
    """Write the INT8 version of ``weights`` to ``output`` if it passes the gate.

    Args:
        weights: an exported FP32 model.
        output: the file to write.
        index: the prepared folder that both lists of images belong to.
        calibration: training images, of which MAX_CALIBRATION_IMAGES are used, evenly spread.
        gate: images on which both models are compared with the targets.

    Raises:
        GateError: it costs more Dice than MAX_MEAN_LOSS or MAX_LOSS, or this processor's kernels disagree.
        ValueError: a list is empty.
    """
    if not calibration or not gate:
        raise ValueError(
            f"{len(calibration)} images to calibrate on and {len(gate)} to compare on; both need at least one"
        )
    exact = LungNetwork(weights, threads=1)
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "int8.onnx"
        write_int8(exact, weights, candidate, index, calibration)
        portable = LungNetwork(candidate, threads=1, float_sums=True)
        kernels = LungNetwork(candidate, threads=1) if processor.dot_products() else None
        cost = _compare(exact, portable, kernels, index, gate)
        # Written so that a NaN fails.
        if not (cost.mean <= MAX_MEAN_LOSS and cost.highest <= MAX_LOSS):
            raise GateError(
                f"INT8 loses {cost.mean:.4f} Dice on average and {cost.highest:.4f} at worst on {len(gate)} images; at "
                f"most {MAX_MEAN_LOSS} and {MAX_LOSS} are allowed, and {output} was not written"
            )
        if cost.agreements and not (
            np.mean(cost.agreements) >= MIN_MEAN_AGREEMENT and min(cost.agreements) >= MIN_AGREEMENT
        ):
            raise GateError(
                f"this processor's INT8 kernels agree with float sums at Dice {np.mean(cost.agreements):.4f} on "
                f"average and {min(cost.agreements):.4f} at worst on {len(gate)} images; at least "
                f"{MIN_MEAN_AGREEMENT} and {MIN_AGREEMENT} are needed, and {output} was not written"
            )
        write_atomically(output, candidate.read_bytes())
    return cost


def write_int8(exact: LungNetwork, weights: Path, candidate: Path, index: Index, calibration: list[IndexRow]) -> None:
    """Write the INT8 version of ``weights`` to ``candidate`` without a gate; ``exact`` is ``weights``, loaded.

    MAX_CALIBRATION_IMAGES of ``calibration`` are used, evenly spread.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends, through the root logger, what is done here already
    try:
        prepared = candidate.with_name("prepared.onnx")
        quant_pre_process(weights, prepared, skip_symbolic_shape=True)
        rows = calibration[:: max(1, len(calibration) // MAX_CALIBRATION_IMAGES)][:MAX_CALIBRATION_IMAGES]
        quantize_static(
            prepared,
            candidate,
            _Calibration(exact, index, rows),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_kept_exact(onnx.load(prepared)),
        )
    finally:
        root.setLevel(level)
    card = replace(exact.card, precision="int8", quantised_from=exact.sha256)
    _save_card(candidate, card)
    # INT8's own output, not FP32's: this detects processors that compute INT8 wrongly; the gate measures its cost.
    phantom, _ = preprocess(selfcheck.draw_phantom(), card.input)
    expected = selfcheck.block_means(LungNetwork(candidate, threads=1, float_sums=True)(phantom)[0])
    _save_card(candidate, replace(card, self_check=expected))


def _save_card(path: Path, card: Card) -> None:
    model = onnx.load(path)
    put_card(model, card)
    write_onnx(model, path)


def _kept_exact(model: onnx.ModelProto) -> list[str]:
    """Return the nodes to keep in floats.

    The sigmoid and the last convolution, because 8 bits would round probabilities near 0 or 1 to them; and convolutions
    with few channels at full resolution, where quantising costs more time than it saves.
    """
    nodes = model.graph.node
    shuffles = [position for position, node in enumerate(nodes) if node.op_type == "DepthToSpace"]
    convolutions = [(position, node.name) for position, node in enumerate(nodes) if node.op_type == "Conv"]
    sigmoids = [node.name for node in nodes if node.op_type == "Sigmoid"]
    thin = [name for position, name in convolutions if shuffles and position > shuffles[-1]]
    return sigmoids + (thin or [convolutions[-1][1]])


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Calibration images, one at a time."""

    def __init__(self, exact: LungNetwork, index: Index, rows: list[IndexRow]) -> None:
        self.inputs = self._read(exact, index, rows)

    @staticmethod
    def _read(exact: LungNetwork, index: Index, rows: list[IndexRow]) -> Iterator[dict[str, Any]]:
        for row in tqdm(rows, desc="calibrate", unit="image", leave=False):
            inputs, _ = preprocess(read_radiograph(index, row).pixels, exact.card.input)
            yield {"radiograph": inputs}

    def get_next(self) -> dict[str, Any] | None:
        return next(self.inputs, None)


def _compare(
    exact: LungNetwork, portable: LungNetwork, kernels: LungNetwork | None, index: Index, gate: list[IndexRow]
) -> QuantisationLoss:
    losses, agreements = [], []
    for row in tqdm(gate, desc="compare INT8 with FP32", unit="image", leave=False):
        data = (index.input / row.image).read_bytes()
        target = read_target(index, row)
        before, after = (segment(data, models=Models(lung=model)).mask for model in (exact, portable))
        losses.append(metrics.dice(before, target) - metrics.dice(after, target))
        if kernels is not None:
            agreements.append(metrics.dice(after, segment(data, models=Models(lung=kernels)).mask))
    return QuantisationLoss(float(np.mean(losses)), float(np.max(losses)), tuple(agreements))
