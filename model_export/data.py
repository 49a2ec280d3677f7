"""Prepared films as a PyTorch data set, and the order in which they are seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset, Sampler

from app.preprocess import InputSpec
from model_export.augment import Augment
from model_export.index import Index, Row


class Films(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Films of a prepared folder, held in memory as 8 bits (0.5 MB a film at 512 pixels).

    An item's index is ``draw * len(films) + film``, as `SeededOrder` gives it, counting draws from the run's start.
    Augmentation draws from (seed, index) alone, so it is the same whatever the number of workers or processes, and
    after a resume.

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
    """A new order each epoch from (seed, epoch); process ``rank`` of ``world`` takes every world-th film of it.

    An epoch draws as many films as there are. Each comes as often as its share of ``weights`` says, rounded up or down
    by a draw (systematic sampling), so equal weights give each film exactly once.
    """

    def __init__(self, weights: NDArray[np.float64], seed: int, rank: int = 0, world: int = 1) -> None:
        self.shares = weights / weights.mean()
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.shares) // self.world

    def __iter__(self) -> Iterator[int]:
        count = len(self.shares)
        random = np.random.default_rng([self.seed, self.epoch])
        films = random.permutation(count)
        marks = np.arange(count) + random.random()
        drawn = films[np.searchsorted(np.cumsum(self.shares[films]), marks).clip(max=count - 1)]
        first = self.epoch * count
        draws = [(first + place) * count + int(film) for place, film in enumerate(random.permutation(drawn))]
        yield from draws[: len(self) * self.world][self.rank :: self.world]


def weights(rows: list[Row], balance: float) -> NDArray[np.float64]:
    """How often each film is to be drawn: 0 all alike, 1 all sources alike, between them the share of sources moves."""
    sizes = Counter(row.source for row in rows)
    return np.array([sizes[row.source] ** -balance for row in rows])


def _read(index: Index, folder: str, row: Row) -> np.ndarray:
    with Image.open(index.folder / folder / f"{row.id}.png") as image:
        return np.asarray(image)
