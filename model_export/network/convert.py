"""Convert a network to ONNX, with its batch norms folded and its card and checksum inside."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path
from typing import TypeVar

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lungseg.model import checksum
from lungseg.model.card import METADATA_KEY, Card
from lungseg.model.preprocess import InputSpec
from model_export.network.unet import UNet

OPSET = 18

Foldable = TypeVar("Foldable", bound=nn.Module)


class ParityError(ValueError):
    """The exported file does not reproduce PyTorch's output; it was not written."""


def to_onnx(network: UNet, spec: InputSpec) -> onnx.ModelProto:
    """Convert a network with a fixed input (1, channels, size, size); its output is a probability."""
    example = torch.zeros(1, spec.channels, spec.size, spec.size)
    return trace_network(_Served(fold_batch_norm(network)).eval(), example, "radiograph", "probability")


def trace_network(network: nn.Module, example: Tensor, input_name: str, output_name: str) -> onnx.ModelProto:
    """Convert a network in evaluation mode; its input has the shape of ``example``.

    Raises:
        ParityError: PyTorch's exporter returned nothing.
    """
    # The exporter warns about its own deprecated parts, and about torchvision, which is not needed here.
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
    # The exporter records source locations for each node, with paths of this machine.
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.checker.check_model(model)
    return model


def put_card(model: onnx.ModelProto, card: Card) -> None:
    """Replace the model's metadata by ``card``."""
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=card.to_json())


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write a model with the checksum that serving verifies."""
    path.write_bytes(checksum.append_checksum(model.SerializeToString()))


class _Served(nn.Module):
    """The network with a final sigmoid."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, radiograph: Tensor) -> Tensor:
        return torch.sigmoid(self.network(radiograph))


def fold_batch_norm(network: Foldable) -> Foldable:
    """Return a copy with each batch norm folded into the convolution before it."""
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
