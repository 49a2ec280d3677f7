"""`export`: a checkpoint becomes the one ONNX file that serving needs, if it gives the same answers."""

from __future__ import annotations

import copy
import json
import logging
import tempfile
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lungseg.files import write_whole
from lungseg.model import checksum
from lungseg.model.network import METADATA_KEY, Card, Network
from lungseg.model.preprocess import InputSpec, preprocess
from lungseg.pipeline.expected_dice import Calibration
from model_export.data.index import Index, Row, read_film
from model_export.network import checkpoint
from model_export.network.unet import UNet

OPSET = 18

TOLERANCE = 1e-3
"""Largest difference of a probability: ten times what reordered float32 sums give, far below what moves an edge."""


Foldable = TypeVar("Foldable", bound=nn.Module)


class ParityError(ValueError):
    """The exported file does not give PyTorch's answers; it was not written."""


def export(
    state_file: Path,
    output: Path,
    index: Index,
    rows: list[Row],
    tolerance: float = TOLERANCE,
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
    state = checkpoint.read(state_file)
    card = checkpoint.card(state, output.stem.replace("_", "-"))
    if expected_dice:
        coefficients, judged = _read_expected_dice(expected_dice)
        card = replace(card, expected_dice=coefficients, metrics=card.metrics | {"expected_dice": judged})
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.onnx"
        save(_convert(checkpoint.load_network(state), card), candidate)
        difference = _largest_difference(checkpoint.TorchModel(state_file), Network(candidate, threads=1), index, rows)
        if not difference <= tolerance:
            raise ParityError(
                f"onnxruntime and PyTorch differ by {difference:.2e} in probability on {len(rows)} images; at most "
                f"{tolerance:.0e} is allowed, and {output} was not written"
            )
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(output, candidate.read_bytes())
    return difference


def _read_expected_dice(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `expect` wrote: the coefficients, and how good they are on patients left out."""
    try:
        facts = json.loads(path.read_text())
        return asdict(Calibration.read(facts)), facts["judged_apart"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} holds no coefficients of expect; write it anew") from None


def to_onnx(network: UNet, spec: InputSpec) -> onnx.ModelProto:
    """A network with a fixed input, (1, channels, size, size), its batch norms folded and its output a probability."""
    example = torch.zeros(1, spec.channels, spec.size, spec.size)
    return trace(_Served(fold_batch_norm(network)).eval(), example, "radiograph", "probability")


def trace(network: nn.Module, example: Tensor, input_name: str, output_name: str) -> onnx.ModelProto:
    """A network in evaluation mode as ONNX, its input of ``example``'s shape.

    Raises:
        ParityError: PyTorch exported nothing.
    """
    # The exporter warns of its own parts' age, and that torchvision, which nothing here needs, is absent.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[input_name],
            output_names=[output_name],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ParityError("PyTorch exported nothing")
    model = program.model_proto
    # The exporter notes for each node where in the source it came from: paths of one machine.
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.checker.check_model(model)
    return model


def _convert(network: UNet, card: Card) -> onnx.ModelProto:
    """`to_onnx`, the model's card inside."""
    model = to_onnx(network, card.input)
    put_card(model, card)
    return model


def put_card(model: onnx.ModelProto, card: Card) -> None:
    """Make ``card`` the model's only metadata."""
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=card.to_json())


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a model that serving will read: with its checksum."""
    path.write_bytes(checksum.sealed(model.SerializeToString()))


class _Served(nn.Module):
    """The network with its last step: logits to probabilities."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, radiograph: Tensor) -> Tensor:
        return torch.sigmoid(self.network(radiograph))


def fold_batch_norm(network: Foldable) -> Foldable:
    """A copy in which each convolution carries the scale and shift of the batch norm behind it."""
    network = copy.deepcopy(network)
    for block in network.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for position in range(len(block) - 1):
            convolution, norm = block[position], block[position + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[position] = fuse_conv_bn_eval(convolution, norm)
                block[position + 1] = nn.Identity()
    return network


def _largest_difference(ours: checkpoint.TorchModel, exported: Network, index: Index, rows: list[Row]) -> float:
    """Over every pixel of every image; NaN if either gives one, so that no comparison with it holds."""
    differences = []
    for row in rows:
        radiograph, _ = preprocess(read_film(index, row).pixels, exported.card.input)
        differences.append(np.abs(ours(radiograph) - exported(radiograph)).max())
    return float(np.max(differences))
