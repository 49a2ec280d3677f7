"""Fixtures: phantoms in the public layout, and prepared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_export.data.index import Index
from model_export.data.phantoms import SIZE, write_public_layout
from model_export.network.fit import Trainer
from model_export.prepare import prepare

torch.set_num_threads(1)  # threads slow such small networks down


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete public layout; do not write to it."""
    root = tmp_path_factory.mktemp("input")
    write_public_layout(root)
    return root


@pytest.fixture(scope="session")
def index(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """The public layout, prepared at 64 pixels with a drawn split."""
    return prepare(public, tmp_path_factory.mktemp("prepared"), SIZE, None, 1, 0.2, None, 2)


@pytest.fixture
def epochs_left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of epochs (its single item) until the run is interrupted as by Ctrl-C."""
    epoch, left = Trainer.run_epoch, [0]

    def count(self: Trainer, *arguments: object) -> float:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return epoch(self, *arguments)

    monkeypatch.setattr(Trainer, "run_epoch", count)
    return left
