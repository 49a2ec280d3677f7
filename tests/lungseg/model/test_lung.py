"""The shipped lung network: its card, the settings that choose it, and invalid files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from lungseg.errors import ModelError
from lungseg.model import lung, processor
from lungseg.model.lung import LUNG_WEIGHTS, LungNetwork, int8_path, load_lung
from lungseg.model.session import thread_count


def test_card_is_in_the_file() -> None:
    card = load_lung().card
    assert card.input.size == 512
    assert card.threshold == 0.5
    assert len(card.training["data_sha256"]) == 64
    assert set(card.metrics["validation_dice"]) == {"montgomery", "radiologists", "shenzhen"}
    assert LUNG_WEIGHTS.stat().st_size < 15_000_000


def test_setting_names_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lung, "FETCHERS", {})  # other tests import `app`, which adds one
    elsewhere = tmp_path / "mine.onnx"
    elsewhere.write_bytes(LUNG_WEIGHTS.read_bytes())
    shipped = int8_path(LUNG_WEIGHTS) if processor.dot_products() else LUNG_WEIGHTS
    for named, expected in (("lung_unet", shipped), (str(shipped), shipped), (str(elsewhere), elsewhere)):
        monkeypatch.setenv("LUNG_MODEL", named)
        assert load_lung.__wrapped__().sha256 == hashlib.sha256(expected.read_bytes()).hexdigest()
    for named, text in (
        ("no_such_model", "There is no model named no_such_model. Use lung_unet, lung_unet_open, or the path"),
        ("models/lung", "The model's path leads to no file. Use lung_unet"),
        (str(tmp_path), "The model's path leads to no file. Use lung_unet"),
        ("s3://bucket/key", "only the service on AWS fetches models"),
    ):
        monkeypatch.setenv("LUNG_MODEL", named)
        with pytest.raises(ModelError, match=re.escape(text)):
            load_lung.__wrapped__()


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_invalid_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError):
        LungNetwork(path, threads=1)


def test_threads_follow_the_setting_then_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "3538")
    assert thread_count() == 2
    monkeypatch.setenv("LUNG_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.setenv("LUNG_THREADS", "many")
    with pytest.raises(ModelError):
        thread_count()
