"""Write the measured tables and the picture of docs/PERFORMANCE.md: `python -m benchmarks.docs`.

The page is written by hand, except between `<!-- NAME -->` and `<!-- /NAME -->`: these are the tables of
runs/bench/NAME.json. The picture needs matplotlib; without it, the picture stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.machine import ROOT, load_result

PAGE, PICTURE = ROOT / "docs" / "PERFORMANCE.md", ROOT / "docs" / "performance.png"

TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "image": tables.image,
    "cold": tables.cold,
    "workers": tables.workers,
    "serve": tables.serve,
}

STAGES = ("decode", "preprocess", "view", "network", "mask", "back to size", "encode", "everything else")


def write() -> None:
    """Rewrite the tables that were measured on this machine, and draw the picture."""
    page = PAGE.read_text()
    for name, table in TABLES.items():
        result = load_result(name)
        if result is not None:
            page = _between(page, name, table(result))
    image = load_result("image")
    if image is not None:
        from benchmarks import cost

        page = _between(page, "cost", cost.cost_tables(image))
        if find_spec("matplotlib"):
            draw(image, PICTURE)
    PAGE.write_text(page)
    print(f"written: {PAGE.relative_to(ROOT)}")


def _between(page: str, name: str, text: str) -> str:
    changed, count = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda found: found[1] + text + "\n" + found[2], page, flags=re.S
    )
    if count != 1:
        raise SystemExit(f"error: docs/PERFORMANCE.md must have exactly one place for {name}")
    return changed


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw two bars per image, by stage: the lower bound above, the service below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    images = {name: image for name, image in result["images"].items() if image["milliseconds"]["pipeline"] < 400}
    figure, axes = plt.subplots(figsize=(9, 1 + 0.8 * len(images)), layout="constrained")
    colours = dict(zip(STAGES, plt.get_cmap("tab10").colors, strict=False))
    bound_parts = {"decode": "decode", "network": "network", "encode": "write"}
    for place, image in enumerate(images.values()):
        bound = {stage: image["lower_bound"][part]["milliseconds"] for stage, part in bound_parts.items()}
        for height, parts, shade in ((place - 0.2, bound, 0.45), (place + 0.2, image["stages"], 1.0)):
            left = 0.0
            for stage in STAGES:
                axes.barh(height, parts.get(stage, 0), 0.36, left, color=colours[stage], alpha=shade)
                left += parts.get(stage, 0)
            label = f"{left:.0f} ms, lower bound" if parts is bound else f"{left:.0f} ms"
            axes.text(left, height, f" {label}", va="center", fontsize=8)
    axes.set_yticks(range(len(images)), images)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"milliseconds on one core ({result['machine']['processor']}, {result['machine']['instructions']})")
    axes.legend([plt.Rectangle((0, 0), 1, 1, color=colours[stage]) for stage in STAGES], STAGES, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    write()
