"""The precision that serves on each processor, its reason, and the errors."""

from __future__ import annotations

import json
import platform
import re
import shutil
import sys
from pathlib import Path

import pytest
from films import dice
from models import card_of, with_card
from processes import one_line, run

from lungseg import settings
from lungseg.errors import ModelError
from lungseg.model import processor
from lungseg.model.lung import LUNG_WEIGHTS, LungNetwork, choose_precision, int8_path
from lungseg.model.models import Models
from lungseg.model.precision import PrecisionReason
from lungseg.pipeline.segment import segment

VNNI, NONE, UNKNOWN = ("avx512_vnni",), (), None
"""What `processor.dot_products` returns on three processors."""


def open_int8() -> LungNetwork:
    """Load the shipped INT8 model, with float sums where 8-bit sums would saturate."""
    return LungNetwork(int8_path(LUNG_WEIGHTS), 1, float_sums=not processor.dot_products())


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A copy of the shipped FP32 file, with its INT8 file beside it."""
    for path in (LUNG_WEIGHTS, int8_path(LUNG_WEIGHTS)):
        shutil.copy(path, tmp_path)
    return tmp_path / LUNG_WEIGHTS.name


def fake_processor(monkeypatch: pytest.MonkeyPatch, products: tuple[str, ...] | None, passes: bool = True) -> None:
    """Simulate a processor with these dot products, whose INT8 kernels pass their self-check or fail it."""
    monkeypatch.setattr(processor, "dot_products", lambda: products)
    monkeypatch.setattr(LungNetwork, "passes_self_check", lambda self: passes or self.card.precision == "fp32")


@pytest.mark.parametrize(
    ("products", "passes", "wanted", "served", "reason"),
    [
        (VNNI, True, "auto", "int8", "dot-products"),
        (VNNI, False, "auto", "fp32", "self-check-failed"),
        (VNNI, True, "int8", "int8", "setting"),
        (VNNI, True, "fp32", "fp32", "setting"),
        (NONE, True, "auto", "fp32", "no-dot-products"),
        (NONE, True, "fp32", "fp32", "setting"),
        (UNKNOWN, True, "auto", "int8", "self-check-passed"),
        (UNKNOWN, False, "auto", "fp32", "self-check-failed"),
    ],
)
def test_processor_and_setting_decide_the_precision(
    monkeypatch: pytest.MonkeyPatch,
    products: tuple[str, ...] | None,
    passes: bool,
    wanted: str,
    served: str,
    reason: str,
) -> None:
    fake_processor(monkeypatch, products, passes)
    model = choose_precision(LUNG_WEIGHTS, wanted, 1)
    assert (model.card.precision, model.precision_reason) == (served, reason)


@pytest.mark.parametrize(
    ("products", "passes", "cause"),
    [(NONE, True, "no 8-bit dot products"), (VNNI, False, "failed its self-check"), (UNKNOWN, False, "self-check")],
)
def test_int8_is_an_error_on_processors_that_cannot_serve_it(
    monkeypatch: pytest.MonkeyPatch, products: tuple[str, ...] | None, passes: bool, cause: str
) -> None:
    fake_processor(monkeypatch, products, passes)
    with pytest.raises(ModelError, match=cause) as raised:
        choose_precision(LUNG_WEIGHTS, "int8", 1)
    assert "Unset it" in str(raised.value)
    with pytest.raises(ModelError, match=cause):
        choose_precision(int8_path(LUNG_WEIGHTS), "auto", 1)


def test_unused_int8_file_is_not_opened(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the processor or the setting excludes it, it may be damaged or missing."""
    int8_path(weights).write_bytes(b"damaged")
    fake_processor(monkeypatch, NONE)
    assert choose_precision(weights, "auto", 1).card.precision == "fp32"
    fake_processor(monkeypatch, VNNI)
    assert choose_precision(weights, "fp32", 1).card.precision == "fp32"
    with pytest.raises(ModelError, match="damaged"):
        choose_precision(weights, "auto", 1)


def test_model_without_an_int8_file_serves_in_fp32(weights: Path) -> None:
    int8_path(weights).unlink()
    model = choose_precision(weights, "auto", 1)
    assert (model.card.precision, model.precision_reason) == ("fp32", PrecisionReason.NO_INT8_FILE)
    with pytest.raises(ModelError, match="only file is fp32"):
        choose_precision(weights, "int8", 1)


def test_named_int8_file_never_serves_as_fp32(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.unlink()
    fake_processor(monkeypatch, VNNI)
    model = choose_precision(int8_path(weights), "auto", 1)
    assert (model.card.precision, model.precision_reason) == ("int8", PrecisionReason.NAMED)
    with pytest.raises(ModelError, match="only file is int8"):
        choose_precision(int8_path(weights), "fp32", 1)


def test_failed_self_check_is_a_warning_only_with_dot_products(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The real check, on a file whose expected answer is inverted."""
    quantised = int8_path(weights)
    card = card_of(quantised.read_bytes())
    card["self_check"] = [1 - mean for mean in card["self_check"]]
    quantised.write_bytes(with_card(quantised.read_bytes(), card))
    for products, warnings in ((UNKNOWN, []), (VNNI, ["WARNING"])):
        monkeypatch.setattr(processor, "dot_products", lambda found=products: found)
        assert choose_precision(weights, "auto", 1).precision_reason is PrecisionReason.SELF_CHECK_FAILED
        assert [record.levelname for record in caplog.records] == warnings


def test_unknown_setting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNG_PRECISION", "int4")
    with pytest.raises(ModelError, match="LUNG_PRECISION must be auto, int8 or fp32"):
        settings.PRECISION.read("auto")


def test_shipped_files_are_one_network_in_two_precisions() -> None:
    for name in ("lung_unet", "lung_unet_open"):
        weights = LUNG_WEIGHTS.with_name(f"{name}.onnx")
        exact = LungNetwork(weights, 1)
        quantised = LungNetwork(int8_path(weights), 1, float_sums=not processor.dot_products())
        assert (exact.card.precision, quantised.card.precision) == ("fp32", "int8")
        assert quantised.card.quantised_from == exact.sha256
        assert quantised.card.training == exact.card.training
        assert quantised.passes_self_check()


def test_int8_and_fp32_masks_agree(rg1: bytes) -> None:
    masks = [segment(rg1, models=Models(lung=model)).mask for model in (open_int8(), LungNetwork(LUNG_WEIGHTS, 1))]
    assert dice(*masks) > 0.998


def test_float_sums_match_the_kernels(rg1: bytes) -> None:
    """With dot products they match; without, the kernels saturate and the self-check must fail."""
    portable = LungNetwork(int8_path(LUNG_WEIGHTS), 1, float_sums=True)
    kernels = LungNetwork(int8_path(LUNG_WEIGHTS), 1)
    assert portable.passes_self_check()
    if processor.dot_products():
        assert kernels.passes_self_check()
        masks = [segment(rg1, models=Models(lung=model)).mask for model in (portable, kernels)]
        assert dice(*masks) > 0.999
    elif processor.dot_products() == ():
        assert not kernels.passes_self_check()


def test_command_line_names_precision_and_reason(tmp_path: Path, small: bytes) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(small)
    expected = ["fp32", "setting"]
    facts = json.loads(run("info", "--json", LUNG_PRECISION="fp32").stdout)
    assert [facts["model"][name] for name in ("precision", "precision_reason")] == expected
    assert facts["processor"] == processor.describe_processor()
    assert b"precision: fp32, because LUNG_PRECISION asks for it" in run("info", LUNG_PRECISION="fp32").stdout
    document = json.loads(run("segment", "-", "--format", "json", "-o", "-", data=small, LUNG_PRECISION="fp32").stdout)
    assert [document["model"][name] for name in ("precision", "precision_reason")] == expected
    run("batch", images, tmp_path / "masks", "--csv", tmp_path / "table.csv", LUNG_PRECISION="fp32")
    names, values = (line.split(",") for line in (tmp_path / "table.csv").read_text().splitlines())
    row = dict(zip(names, values, strict=True))
    assert [row[name] for name in ("precision", "precision_reason")] == expected


def test_int8_setting_without_dot_products_prints_one_line(small: bytes) -> None:
    done = run("segment", "-", data=small, LUNG_PRECISION="int8")
    if processor.dot_products() == ():
        assert done.returncode == 1
        assert "no 8-bit dot products" in one_line(done)
    else:
        assert done.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_instructions_are_a_subset_of_the_kernels() -> None:
    """A subset, because an emulator shows the host's /proc/cpuinfo."""
    found = processor.instructions()
    listed = re.findall(r"^(?:flags|Features)\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M)[0].split()
    assert found is not None
    assert found <= set(listed)
    assert found or platform.machine() not in ("x86_64", "aarch64")
