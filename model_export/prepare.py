"""`prepare`: images and masks of any size become letterboxed squares and an index.

Written to the output folder:
    images/<id>.png   8-bit grey, size x size: the image shrunk to fit, aspect kept, centred on 0
    masks/<id>.png    1 bit, the same square, white = inside; only where there is a mask
    index.csv         one row per image: its place in the square, split, source files and digest
    skipped.csv       what was left out, and why
    prepare.json      the input folder, the size and how the images were split
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from lungseg import errors
from lungseg.decode import decode
from lungseg.decode.radiograph import Pixels
from lungseg.model.preprocess import Geometry, InputSpec, clip_range, letterbox, shrink_image
from model_export.data import layout
from model_export.data.hospital import read_hospital
from model_export.data.index import Index, IndexRow, read_index, write_index
from model_export.data.lookalikes import find_lookalikes

SKIPPED_SHOWN = 20
"""Most lines printed about skipped images, all of which are in skipped.csv, and about lookalikes."""


def prepare(
    input_folder: Path | None,
    output: Path,
    size: int,
    splits_folder: Path | None,
    seed: int,
    test_share: float,
    quality_file: Path | None,
    workers: int,
    hospitals: Sequence[tuple[Path, str | None]] = (),
    licences: Sequence[str] = (),
) -> Index:
    """Prepare the public sets and further hospitals, and print a summary.

    Args:
        input_folder: folder with the public sets; None to leave them out.
        output: the folder to write.
        size: side of the squares, in pixels.
        splits_folder: split lists of the public sets; None draws a split.
        seed: seed of the drawn split.
        test_share: test share of the drawn split.
        quality_file: verdicts on the public sets' masks.
        workers: number of threads.
        hospitals: further folders, each with the kind of its masks if its index has no kind.
        licences: of further hospitals' images; others are left out. Empty takes all.

    Raises:
        FileNotFoundError: an image, index or split list is missing.
        ValueError: an image is in two lists, the quality file or an index is invalid, no set is named, two sets have
            the same name, or ``test_share`` is out of range.
    """
    if size < 1:
        raise ValueError(f"size is {size}; it must be at least 1")
    if not 0 <= test_share < 1:
        raise ValueError(f"the share set aside for testing is {test_share}; it must be at least 0 and below 1")
    if input_folder is None and not hospitals:
        raise ValueError(
            "nothing to prepare; name the public sets with --input, further hospitals with --more, or both"
        )
    names = Counter([*layout.PUBLIC_SETS.values(), *(folder.name for folder, _ in hospitals)])
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(
            f"two sets are called {', '.join(twice)}; rename one folder, because image ids start with its name"
        )
    pairs, skipped = layout.find_pairs(input_folder) if input_folder else ([], [])
    quality = layout.read_quality(quality_file) if quality_file else {}
    splits = layout.read_splits(splits_folder) if splits_folder else layout.draw_splits(pairs, seed, test_share)
    root = input_folder or hospitals[0][0].parent
    known = {pair.id for pair in pairs} | {skip.id for skip in skipped}
    skipped += [
        layout.SkippedImage(radiograph, "in a split list, but not found")
        for radiograph in sorted(splits.keys() - known)
    ]
    for hospital, kind in hospitals:
        more, without = read_hospital(hospital, kind)
        pairs, skipped = pairs + more, skipped + without
        splits |= {pair.id: pair.split for pair in more if pair.split is not None}
    if licences:
        others = [pair for pair in pairs if pair.split is not None and pair.licence not in licences]
        pairs = [pair for pair in pairs if pair.split is None or pair.licence in licences]
        skipped += [
            layout.SkippedImage(pair.id, f"its licence ({pair.licence or 'none stated'}) is not among --licences")
            for pair in others
        ]
    for folder in ("images", "masks"):
        (output / folder).mkdir(parents=True, exist_ok=True)

    def one(pair: layout.ImagePair) -> IndexRow | layout.SkippedImage:
        if pair.id not in splits:
            return layout.SkippedImage(pair.id, "in no split list")
        try:
            return prepare_pair(pair, root, output, size, splits[pair.id], quality.get(pair.id, "ok"))
        except errors.ProblemError as error:
            return layout.SkippedImage(pair.id, f"{error.code}: {error.detail}")
        except OSError as error:
            return layout.SkippedImage(pair.id, f"cannot be read or written: {error.strerror}")

    with ThreadPoolExecutor(workers) as pool:
        results = list(tqdm(pool.map(one, pairs), total=len(pairs), desc="prepare", unit="image"))
    rows = [result for result in results if isinstance(result, IndexRow)]
    skipped += [result for result in results if isinstance(result, layout.SkippedImage)]
    drawn = {"lists": str(splits_folder)} if splits_folder else {"seed": seed, "test_share": test_share}
    write_index(output, rows, skipped, root, size, drawn)

    counts = Counter((row.source, row.split) for row in rows)
    for (source, split), count in sorted(counts.items()):
        print(f"{source:12} {split:12} {count:5} images")
    print(f"prepared {len(rows)} images in {output}, skipped {len(skipped)}")
    prepared = read_index(output)
    lookalikes = find_lookalikes(prepared)
    for one_row, other in lookalikes[:SKIPPED_SHOWN]:
        print(f"  may be one image: {one_row.id} ({one_row.split}) and {other.id} ({other.split})")
    if len(lookalikes) > SKIPPED_SHOWN:
        print(f"  ... and {len(lookalikes) - SKIPPED_SHOWN} more pairs")
    for skip in skipped[:SKIPPED_SHOWN]:
        print(f"  skipped {skip.id}: {skip.reason}")
    if len(skipped) > SKIPPED_SHOWN:
        print(f"  ... and {len(skipped) - SKIPPED_SHOWN} more: {output / 'skipped.csv'}")
    return prepared


def prepare_pair(pair: layout.ImagePair, root: Path, output: Path, size: int, split: str, quality: str) -> IndexRow:
    """Write the squares of one image and its mask below ``output``, and return its row.

    Raises:
        ProblemError: the image or mask is damaged, blank, or of the wrong size.
        OSError.
    """
    radiograph = decode(pair.image.read_bytes()).pixels
    mask = layout.read_mask(pair.masks) if pair.masks else None
    if mask is not None and radiograph.shape != mask.shape:
        raise errors.DamagedImage("Image and mask differ in size.")
    if mask is not None and not mask.any():
        raise errors.DamagedImage("The mask is empty.")
    height, width = radiograph.shape
    geometry = letterbox(height, width, size)
    image = _square(_eight_bits(shrink_image(radiograph, geometry), InputSpec(size)), geometry)
    Image.fromarray(image).save(output / "images" / f"{pair.id}.png")
    target = np.zeros(0, bool)
    if mask is not None:
        target = _square(shrink_image(mask.astype(np.uint8) * 255, geometry), geometry) > 127
        Image.fromarray(target).save(output / "masks" / f"{pair.id}.png")
    return IndexRow(
        id=pair.id,
        source=pair.source,
        patient=pair.patient,
        kind=pair.kind,
        licence=pair.licence,
        finding=pair.finding,
        split=split,
        quality=quality,
        height=geometry.height,
        width=geometry.width,
        top=geometry.top,
        left=geometry.left,
        box_height=geometry.box_height,
        box_width=geometry.box_width,
        image=_from(root, pair.image),
        masks=";".join(_from(root, path) for path in pair.masks),
        sha256=hashlib.sha256(image.tobytes() + target.tobytes()).hexdigest(),
    )


def _from(root: Path, path: Path) -> str:
    """Return a path relative to the input folder; further hospitals may lie outside it."""
    return Path(os.path.relpath(path, root)).as_posix()


def _eight_bits(box: Pixels, spec: InputSpec) -> Pixels:
    """Return a 16-bit image stretched between the greys that serving clips to; an 8-bit image unchanged.

    Raises:
        BlankImage: every pixel has the same grey.
    """
    low, high = clip_range(box, spec)
    if box.dtype == np.uint8:
        return box
    return ((box.clip(low, high) - low) * (255 / (high - low))).round().astype(np.uint8)


def _square(box: Pixels, geometry: Geometry) -> Pixels:
    square = np.zeros((geometry.size, geometry.size), box.dtype)
    square[geometry.box] = box
    return square
