"""Write, read and run checkpoints."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lungseg.errors import ModelError
from lungseg.model import processor
from lungseg.model.card import MASK_CONVENTION, Card
from lungseg.model.lung import LungModel, LungNetwork
from lungseg.model.precision import PrecisionReason
from lungseg.model.preprocess import InputSpec
from model_export.config import read_config
from model_export.network.unet import UNet, build_network


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically, since a run may be killed at any time."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        FileNotFoundError, ValueError: the file is missing, or not a checkpoint.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a checkpoint of `train` ({type(error).__name__})") from None
    if not isinstance(state, dict) or not {"config", "spec", "weights", "sources", "labelled"} <= state.keys():
        raise ValueError(f"{path} is not a checkpoint of this version's `train`")
    return state


def load_network(state: dict[str, Any]) -> UNet:
    """Return the network of a checkpoint with its validated weights, in evaluation mode."""
    network = build_network(read_config(state["config"]))
    network.load_state_dict(state["weights"])
    return network.eval()


def make_card(state: dict[str, Any], name: str) -> Card:
    """Return the card of the exported model."""
    return Card(
        name=name,
        input=InputSpec(**state["spec"]),
        threshold=0.5,
        mask_convention=MASK_CONVENTION,
        training={
            "films": state["films"],
            "sources": state["sources"],
            "labelled": state["labelled"],
            "data_sha256": state["data_sha256"],
            "epoch": state["epoch"],
            "config": state["config"],
        },
        metrics={"validation_dice": state["validation_dice"]},
        outputs=read_config(state["config"]).outputs,
    )


class TorchModel:
    """A checkpoint with the card and the call of an exported model."""

    def __init__(self, path: Path) -> None:
        state = read_checkpoint(path)
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.card = make_card(state, path.stem)
        self.precision_reason = PrecisionReason.NAMED
        self.network = load_network(state)

    @torch.inference_mode()
    def __call__(self, radiograph: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities (outputs, size, size) float32 for an input (1, channels, size, size) float32."""
        return np.asarray(torch.sigmoid(self.network(torch.from_numpy(radiograph)))[0])


def read_model(path: Path) -> LungModel:
    """Return a checkpoint or an exported model, on one thread.

    Where this processor's 8-bit sums would saturate, an INT8 model is computed with float sums, so that its scores are
    those of the processors that serve it.
    """
    if path.suffix == ".pt":
        return TorchModel(path)
    try:
        model = LungNetwork(path, threads=1)
        if model.card.precision == "int8" and not processor.dot_products():
            return LungNetwork(path, threads=1, float_sums=True)
        return model
    except ModelError as error:
        raise ValueError(f"{path}: {error}") from None
