"""Fuzz with coverage guidance: libFuzzer, through atheris, keeps corrupted images that reach new code.

`python fuzz_guided.py SEED RUNS FOLDER` continues from the images in FOLDER/films and adds those that reach new code.
It writes libFuzzer's report to stderr. It exits with 0 if no image broke a promise; otherwise the image is in FOLDER.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from random import Random

import atheris
from ledger import WHOLE

FOLLOWED = ["lungseg", "tifffile", "pydicom", "PIL"] if WHOLE else ["lungseg"]
"""Packages whose branches count; instrumenting all of them takes 10 s."""

ROOT = Path(__file__).parents[2]

BESIDES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "lungseg").rglob("*.py")
    if "decode" not in path.parts or path.stem == "display"
]
"""Modules that decode nothing, or only arrays: atheris never frees an array that they compared."""

FIRST = 1 if WHOLE else 6
"""Start with every FIRST-th seed; each is segmented once before any is corrupted."""

with atheris.instrument_imports(include=FOLLOWED, exclude=BESIDES):
    for late in ("lungseg.decode.dicom", "lungseg.decode.tiff"):  # the service imports these when it needs them
        import_module(late)
    from fuzz_worker import PEAK, SECONDS, outcome
    from mutate import MAX_BYTES, mutate
    from seeds import seeds


def try_one(image: bytes) -> None:
    outcome(image)


def spoilt(image: bytes, longest: int, seed: int) -> bytes:
    """Corrupt an image: half of the time by its grammar, else with libFuzzer, which knows what the code compared."""
    random = Random(seed)
    if random.random() < 0.5:
        return atheris.Mutate(image, longest)
    return mutate(image, random, list(seeds().values()))[:longest]


def main(seed: int, runs: int, folder: Path) -> None:
    images = folder / "films"
    if not images.exists():
        images.mkdir()
        for name, image in list(seeds().items())[::FIRST]:
            (images / name).write_bytes(image)
    options = {
        "runs": runs,
        "seed": seed,
        "max_len": MAX_BYTES,
        "timeout": SECONDS,
        "rss_limit_mb": PEAK >> 20,
        "artifact_prefix": f"{folder}/",
        "print_final_stats": 1,
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(images)], try_one, custom_mutator=spoilt)
    atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
