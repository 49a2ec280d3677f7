"""Quantisation to INT8, and its gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lungseg.model import processor
from lungseg.model.lung import LUNG_WEIGHTS, LungNetwork, choose_precision, int8_path
from model_export.__main__ import main
from model_export.config import Config
from model_export.data.index import Index
from model_export.data.phantoms import TINY
from model_export.network import quantise as module
from model_export.network.quantise import GateError, quantise
from model_export.train import train


@pytest.fixture(scope="module")
def exported(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network that learned phantoms, exported with its INT8 file."""
    folder = tmp_path_factory.mktemp("run")
    train(index, folder, Config(**TINY, epochs=20, augment=False), resume=False)
    weights = folder / "tiny.onnx"
    files = ["--data", str(index.folder), "--checkpoint", str(folder / "best.pt"), "--output", str(weights)]
    assert main(["export", *files]) == 0
    return weights


def test_int8_file_is_the_quantised_network(exported: Path) -> None:
    exact, quantised = LungNetwork(exported, 1), LungNetwork(int8_path(exported), 1, float_sums=True)
    assert quantised.card.precision == "int8"
    assert quantised.card.quantised_from == exact.sha256
    assert quantised.card.input == exact.card.input
    assert quantised.passes_self_check()
    served = choose_precision(exported, "auto", 1)
    assert served.sha256 == (quantised if processor.dot_products() else exact).sha256
    assert int8_path(exported).stat().st_size < exported.stat().st_size


def test_int8_file_is_static_qdq_per_channel() -> None:
    """The only variant that is fast on VNNI processors, checked on the shipped file."""
    model = onnx.load(int8_path(LUNG_WEIGHTS))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    activations = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    weights = [
        node for node in model.graph.node if node.op_type == "DequantizeLinear" and kinds.get(node.input[0]) is not None
    ]
    assert activations
    assert all(kinds[node.input[2]] == onnx.TensorProto.UINT8 for node in activations)
    of_convolutions = [node for node in weights if kinds[node.input[0]] == onnx.TensorProto.INT8]
    assert len(of_convolutions) > 15
    assert all(sizes[node.input[1]] > 1 for node in of_convolutions)  # a scale for each channel


@pytest.mark.parametrize(("name", "limit"), [("MAX_MEAN_LOSS", -1.0), ("MAX_LOSS", -1.0), ("MAX_MEAN_LOSS", np.nan)])
def test_costly_int8_model_is_not_written(
    exported: Path, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: float
) -> None:
    monkeypatch.setattr(module, name, limit)
    with pytest.raises(GateError, match="loses"):
        quantise(exported, tmp_path / "int8.onnx", index, index.select("train"), index.select("validation"))
    assert not list(tmp_path.iterdir())


def test_badly_calibrated_int8_model_is_not_written(
    exported: Path, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges calibrated on faint inputs fail the gate."""
    read = module._Calibration._read

    def faint(*arguments: object) -> object:
        return ({"radiograph": inputs["radiograph"] * 1e-3} for inputs in read(*arguments))

    monkeypatch.setattr(module._Calibration, "_read", staticmethod(faint))
    with pytest.raises(GateError):
        quantise(exported, tmp_path / "int8.onnx", index, index.select("train"), index.select("validation"))
    assert not list(tmp_path.iterdir())


def test_disagreeing_int8_kernels_are_rejected(
    exported: Path, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor whose kernels return other masks cannot confirm the file."""
    monkeypatch.setattr(processor, "dot_products", lambda: ("avx512_vnni",))
    monkeypatch.setattr(module, "MIN_MEAN_AGREEMENT", 1.1)
    with pytest.raises(GateError, match="agree with float sums"):
        quantise(exported, tmp_path / "int8.onnx", index, index.select("train"), index.select("validation"))
    assert not list(tmp_path.iterdir())


def test_gate_without_dot_products_uses_float_sums(
    exported: Path, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "dot_products", lambda: ())
    output = tmp_path / "int8.onnx"
    cost = quantise(exported, output, index, index.select("train"), index.select("validation"))
    assert cost.agreements == ()
    assert output.read_bytes() == int8_path(exported).read_bytes()


def test_rejected_int8_model_removes_the_old_one(
    exported: Path, index: Index, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """An INT8 file of the previous network would be served instead of the new one."""
    weights = exported.with_name("again.onnx")
    int8_path(weights).write_bytes(b"of an older network")
    monkeypatch.setattr(module, "MAX_MEAN_LOSS", -1.0)
    files = ["--data", str(index.folder), "--checkpoint", str(exported.with_name("best.pt")), "--output", str(weights)]
    assert main(["export", *files]) == 2
    assert weights.exists()
    assert not int8_path(weights).exists()
    assert "INT8 loses" in capsys.readouterr().err.splitlines()[-1]
