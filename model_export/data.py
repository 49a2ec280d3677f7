"""Prepared films as a PyTorch data set, and the order in which they are seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Sampler

from app.preprocess import InputSpec
from model_export.augment import Augment
from model_export.prepare import Index, Row


class Films(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Films of a prepared folder, held in memory as 8 bits (0.5 MB a film at 512 pixels).

    An item's index is ``epoch * len(films) + film``, as `SeededOrder` gives it. Augmentation draws from (seed, index)
    alone, so it is the same whatever the number of workers or processes, and after a resume.

    Shape:
        - item: input (channels, size, size) float32, target (1, size, size) float32
    """

    def __init__(self, index: Index, rows: list[Row], spec: InputSpec, augment: bool, seed: int = 0) -> None:
        if index.size != spec.size:
            raise ValueError(
                f"the films were prepared at {index.size} pixels, the network takes {spec.size}; prepare them again "
                f"with --size {spec.size}"
            )
        self.rows = rows
        self.seed = seed
        self.augment = Augment(spec, augment)
        self.images = [_read(index, "images", row) for row in rows]
        self.masks = [_read(index, "masks", row) for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        film = index % len(self)
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        geometry = self.rows[film].geometry(self.augment.spec.size)
        return self.augment(self.images[film], self.masks[film], geometry, seed)


class SeededOrder(Sampler[int]):
    """A new order each epoch from (seed, epoch); process ``rank`` of ``world`` takes every world-th film of it."""

    def __init__(self, count: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.count = count
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0

    def __len__(self) -> int:
        return self.count // self.world

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        for film in order[: len(self) * self.world][self.rank :: self.world]:
            yield self.epoch * self.count + int(film)


def _read(index: Index, folder: str, row: Row) -> np.ndarray:
    with Image.open(index.folder / folder / f"{row.id}.png") as image:
        return np.asarray(image)
