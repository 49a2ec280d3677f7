"""The bundle of models: loaded once, one digest per model, and any model can be replaced."""

from __future__ import annotations

from dataclasses import fields

from lungseg.model.lung import LUNG_WEIGHTS, LungNetwork
from lungseg.model.models import Models, load_models
from lungseg.pipeline.segment import segment


def test_models_are_loaded_once() -> None:
    assert load_models() is load_models()
    assert Models() == load_models()


def test_each_model_has_one_digest() -> None:
    models = load_models()
    assert models.digests == tuple(getattr(models, each.name).sha256 for each in fields(Models))
    assert len(set(models.digests)) == len(fields(Models))


def test_given_model_replaces_only_its_own(rg1: bytes) -> None:
    given = LungNetwork(LUNG_WEIGHTS.with_name("lung_unet_open.onnx"), threads=1)
    models = Models(lung=given)
    assert models.view is load_models().view
    assert segment(rg1, models=models).model.sha256 == given.sha256 != load_models().lung.sha256
