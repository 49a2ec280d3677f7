"""Phantoms: small made-up chests in the public layout, so that every step of training runs in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PUBLIC_ROOT = "pulmonary-chest-xray-abnormalities"
MONTGOMERY = f"{PUBLIC_ROOT}/Montgomery/MontgomerySet"
SHENZHEN = f"{PUBLIC_ROOT}/ChinaSet_AllFiles/ChinaSet_AllFiles"
SIZE = 64


def draw_chest(height: int, width: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return a phantom and the masks of the patient's left and right lung: dark ellipses in a bright body."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    shift = random.uniform(-0.05, 0.05, 2)

    def ellipse(centre: float, row: float, half_width: float, half_height: float) -> NDArray[np.bool_]:
        return np.hypot((columns - centre - shift[0]) / half_width, (rows - row - shift[1]) / half_height) < 1

    right, left = ellipse(0.3, 0.5, 0.13, 0.3), ellipse(0.7, 0.5, 0.12, 0.28)
    image = 40 + 150 * ellipse(0.5, 0.5, 0.45, 0.5) - 90.0 * (left | right) + random.normal(0, 8, (height, width))
    return image.clip(0, 255).astype(np.uint8), left, right


def write_png(path: Path, pixels: NDArray[np.generic]) -> None:
    """Write a PNG, and its folders if they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")


def write_public_layout(root: Path, count: int = 12) -> None:
    """Write ``count`` phantoms of each set, in several sizes, one with 16 bits and one in colour."""
    for number in range(1, count + 1):
        name = f"MCUCXR_{number:04}_{number % 2}.png"
        image, left, right = draw_chest(100 + 3 * number, 120, number)
        write_png(root / MONTGOMERY / "CXR_png" / name, image if number != 1 else image.astype(np.uint16) * 16)
        write_png(root / MONTGOMERY / "ManualMask" / "leftMask" / name, left)
        write_png(root / MONTGOMERY / "ManualMask" / "rightMask" / name, right)
        name = f"CHNCXR_{number:04}_{number % 2}"
        image, left, right = draw_chest(110, 100 + 5 * number, 100 + number)
        write_png(
            root / SHENZHEN / "CXR_png" / f"{name}.png", image if number != 1 else np.repeat(image[..., None], 3, 2)
        )
        write_png(
            root / "shcxr-lung-mask" / "mask" / "mask" / f"{name}_mask.png", (left | right).astype(np.uint8) * 255
        )


TINY = {"base": 8, "depth": 2, "max_channels": 16, "batch": 4, "workers": 0, "learning_rate": 0.01, "ema": 0.5}
"""Settings of a training run of about a second."""
