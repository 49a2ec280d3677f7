"""Prepared images as a PyTorch dataset, and the order of an epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from lungseg.model.preprocess import InputSpec
from model_export.data.augment import Augment
from model_export.data.index import Index, IndexRow, read_square

Example = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Input, target, and where the target is known."""


class ImageDataset(Dataset[Example]):
    """Images of a prepared folder, kept in memory in 8 bits (0.5 MB per image at 512 pixels).

    An item's index is ``draw * len(dataset) + image``, from `SeededSampler`, where draws are counted from the start of
    the run. Augmentation depends on (seed, index) only, not on the number of workers or processes, nor on a resume.

    Shape:
        - item: input (channels, size, size), target (outputs, size, size), known (outputs, size, size), all float32
    """

    def __init__(
        self, index: Index, rows: list[IndexRow], spec: InputSpec, augment: bool, seed: int = 0, outputs: int = 1
    ) -> None:
        if index.size != spec.size:
            raise ValueError(
                f"the images were prepared at {index.size} pixels but the network takes {spec.size}; prepare them "
                f"again with --size {spec.size}"
            )
        self.rows = rows
        self.seed = seed
        self.augment = Augment(spec, augment, outputs)
        self.images = [read_square(index, "images", row) for row in rows]
        self.masks = [read_square(index, "masks", row) for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        image = index % len(self)
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        geometry = self.rows[image].geometry(self.augment.spec.size)
        return self.augment(self.images[image], self.masks[image], geometry, seed, self.rows[image].kind)


class SeededSampler(Sampler[int]):
    """A new order in each epoch from (seed, epoch); process ``rank`` of ``world`` takes every world-th image.

    Each image is drawn in proportion to its weight, rounded up or down at random (systematic sampling). With equal
    weights and as many draws as images, each image is drawn exactly once.
    """

    def __init__(
        self, weights: NDArray[np.float64], seed: int, rank: int = 0, world: int = 1, draws: int | None = None
    ) -> None:
        """Args: draws: images per epoch; None is the number of images."""
        self.draws = len(weights) if draws is None else draws
        self.shares = weights / weights.sum() * self.draws
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0

    def __len__(self) -> int:
        return self.draws // self.world

    def __iter__(self) -> Iterator[int]:
        count = len(self.shares)
        random = np.random.default_rng([self.seed, self.epoch])
        images = random.permutation(count)
        marks = np.arange(self.draws) + random.random()
        drawn = images[np.searchsorted(np.cumsum(self.shares[images]), marks).clip(max=count - 1)]
        first = self.epoch * self.draws
        draws = [(first + place) * count + int(image) for place, image in enumerate(random.permutation(drawn))]
        yield from draws[: len(self) * self.world][self.rank :: self.world]


def balance_weights(rows: list[IndexRow], balance: float) -> NDArray[np.float64]:
    """Return the weight of each image: with a balance of 0 all images are equal, with 1 all sets."""
    sizes = Counter(row.source for row in rows)
    return np.array([sizes[row.source] ** -balance for row in rows])


def share_weights(rows: list[IndexRow], shares: dict[str, float]) -> NDArray[np.float64]:
    """Return the weight of each image so that each set gets its share of an epoch.

    Raises:
        ValueError: a share is not positive, or ``shares`` and ``rows`` have different sets.
    """
    sizes = Counter(row.source for row in rows)
    if sizes.keys() != shares.keys() or not all(share > 0 for share in shares.values()):
        raise ValueError(
            f"shares name {', '.join(sorted(shares))}; each set to train on needs a share above 0: "
            f"{', '.join(sorted(sizes))}"
        )
    return np.array([shares[row.source] / sizes[row.source] for row in rows])
