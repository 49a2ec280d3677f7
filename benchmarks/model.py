"""Compare the network that serves on this processor with the original project's 31.0 M U-Net: one run, one core.

    make bench-model

The networks run interleaved in onnxruntime on one thread, so that a slow moment of the machine affects all of them.
Medians and their ratios are printed. Speed does not depend on the weights, so the original's are random.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import torch

from lungseg.model import processor
from lungseg.model.lung import LUNG_WEIGHTS, choose_precision, int8_path
from lungseg.model.preprocess import InputSpec
from model_export.config import ORIGINAL, read_config
from model_export.network.convert import to_onnx
from model_export.network.unet import build_network
from model_export.sweeps.timing import RACE_ROUNDS, count_gigaflops, count_million_weights, race_networks


def main() -> None:
    """Race and print."""
    torch.set_num_threads(1)
    served = choose_precision(LUNG_WEIGHTS, "auto", 1)
    ours = read_config(served.card.training["config"])
    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / "original.onnx"
        spec = InputSpec(size=served.card.input.size, channels=ORIGINAL.in_channels)
        onnx.save(to_onnx(build_network(ORIGINAL).eval(), spec), original)
        entries = [
            ("original U-Net, FP32", original, ORIGINAL),
            (f"{served.card.name}, FP32", LUNG_WEIGHTS, ours),
            (f"{served.card.name}, INT8", int8_path(LUNG_WEIGHTS), ours),
        ]
        times = race_networks([path for _, path, _ in entries])
        sizes = [path.stat().st_size / 1e6 for _, path, _ in entries]

    print(f"processor: {processor.describe_processor()}")
    print(f"{'':24}{'weights':>10}{'file':>10}{'multiply-adds':>15}{'ms':>10}{'original / this':>17}")
    for (name, _, config), megabytes, milliseconds in zip(entries, sizes, times, strict=True):
        multiply_adds = count_gigaflops(config, served.card.input.size) / 2
        print(
            f"{name:24}{count_million_weights(config):>8.2f} M{megabytes:>7.1f} MB"
            f"{multiply_adds:>13.2f} G{milliseconds:>10.1f}{times[0] / milliseconds:>17.1f}"
        )
    ratio = times[0] / times[2 if served.card.precision == "int8" else 1]
    print(f"{served.card.precision.upper()} serves here, because {served.precision_reason.text}")
    print(f"it takes 1 / {ratio:.0f} of the original's time; one core, {RACE_ROUNDS} rounds, medians")


if __name__ == "__main__":
    main()
