"""`export` writes a model that can be served, or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lungseg.model import checksum
from lungseg.model.card import METADATA_KEY
from lungseg.model.lung import LUNG_WEIGHTS, LungNetwork
from lungseg.model.models import Models
from lungseg.pipeline.segment import segment
from model_export.__main__ import main
from model_export.config import Config
from model_export.data.index import Index, digest_rows
from model_export.data.phantoms import TINY
from model_export.export import export
from model_export.network import checkpoint
from model_export.network.convert import ParityError
from model_export.train import train


@pytest.fixture(scope="module", params=[1, 3])
def run(request: pytest.FixtureRequest, index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny trained run with 1 and with 3 input channels."""
    folder = tmp_path_factory.mktemp("run")
    train(index, folder, Config(**TINY, epochs=2, in_channels=request.param), resume=False)
    return folder


def test_exported_model_is_served(index: Index, run: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "tiny_unet.onnx"
    files = ["--data", str(index.folder), "--checkpoint", str(run / "best.pt"), "--output", str(output)]
    assert main(["export", *files, "--no-int8"]) == 0
    assert "differs from PyTorch by at most" in capsys.readouterr().out
    model = LungNetwork(output, threads=1)
    assert model.card.name == "tiny-unet"
    assert model.card.input.size == index.size
    assert model.card.training["data_sha256"] == digest_rows(index.select("train"))
    assert model.card.training["films"] == len(index.select("train"))
    for row in index.select("test"):
        image = (index.input / row.image).read_bytes()
        ours, theirs = (
            segment(image, models=Models(lung=checkpoint.TorchModel(run / "best.pt"))),
            segment(image, models=Models(lung=model)),
        )
        assert np.abs(ours.probability - theirs.probability).max() < 1e-4


def test_parity_failure_writes_nothing(index: Index, run: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.onnx"
    output.write_bytes(b"the model that serves now")
    with pytest.raises(ParityError, match="differ by"):
        export(run / "best.pt", output, index, index.select("validation"), tolerance=0)
    assert output.read_bytes() == b"the model that serves now"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("error", [0.5, np.nan])
def test_broken_conversion_fails_parity(index: Index, run: Path, tmp_path: Path, monkeypatch, error: float) -> None:
    """The parity check notices a few changed weights."""
    from model_export import export as module

    convert = module._convert

    def wrong(*arguments: object) -> onnx.ModelProto:
        model = convert(*arguments)
        weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = onnx.numpy_helper.to_array(weight).copy()
        values.flat[:50] += error
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return model

    monkeypatch.setattr(module, "_convert", wrong)
    with pytest.raises(ParityError):
        export(run / "best.pt", tmp_path / "model.onnx", index, index.select("validation"))
    assert not list(tmp_path.iterdir())


def test_invalid_checkpoint_is_reported(index: Index, tmp_path: Path, capsys) -> None:
    (tmp_path / "best.pt").write_bytes(b"no checkpoint")
    assert main(["export", "--data", str(index.folder), "--checkpoint", str(tmp_path / "best.pt")]) == 2
    assert "is not a checkpoint" in capsys.readouterr().err


def test_shipped_file_contains_only_network_card_and_checksum() -> None:
    model = onnx.load(LUNG_WEIGHTS)
    onnx.checker.check_model(model)
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY, checksum.CHECKSUM_KEY]
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim] == [1, 1, 512, 512]
