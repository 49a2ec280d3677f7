"""docs/PERFORMANCE.md and its picture, from what was measured: `python -m benchmarks.docs` writes them again.

The page is written by hand, but for what lies between `<!-- NAME -->` and `<!-- /NAME -->`: the tables of
runs/bench/NAME.json. The picture needs matplotlib, and stays as it is without.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.machine import ROOT, kept

PAGE, PICTURE = ROOT / "docs" / "PERFORMANCE.md", ROOT / "docs" / "performance.png"

TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "film": tables.film,
    "cold": tables.cold,
    "workers": tables.workers,
    "serve": tables.serve,
}

STAGES = ("decode", "preprocess", "view", "network", "mask", "back to size", "encode", "everything else")


def write() -> None:
    """Rewrite the tables of all that has been measured here, and draw the picture."""
    page = PAGE.read_text()
    for name, table in TABLES.items():
        result = kept(name)
        if result is not None:
            page = _between(page, name, table(result))
    film = kept("film")
    if film is not None:
        from benchmarks import cost

        page = _between(page, "cost", cost.tables(film))
        if find_spec("matplotlib"):
            draw(film, PICTURE)
    PAGE.write_text(page)
    print(f"written: {PAGE.relative_to(ROOT)}")


def _between(page: str, name: str, text: str) -> str:
    changed, count = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda found: found[1] + text + "\n" + found[2], page, flags=re.S
    )
    if count != 1:
        raise SystemExit(f"error: docs/PERFORMANCE.md has no one place for {name}")
    return changed


def draw(result: dict[str, Any], path: Path) -> None:
    """Two bars an image: the floor above, the service below, by stage."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    films = {name: film for name, film in result["films"].items() if film["milliseconds"]["pipeline"] < 400}
    figure, axes = plt.subplots(figsize=(9, 1 + 0.8 * len(films)), layout="constrained")
    colours = dict(zip(STAGES, plt.get_cmap("tab10").colors, strict=False))
    least = {"decode": "decode", "network": "network", "encode": "write"}
    for place, film in enumerate(films.values()):
        floor = {stage: film["floor"][part]["milliseconds"] for stage, part in least.items()}
        for height, parts, shade in ((place - 0.2, floor, 0.45), (place + 0.2, film["stages"], 1.0)):
            left = 0.0
            for stage in STAGES:
                axes.barh(height, parts.get(stage, 0), 0.36, left, color=colours[stage], alpha=shade)
                left += parts.get(stage, 0)
            told = f"{left:.0f} ms, the floor" if parts is floor else f"{left:.0f} ms"
            axes.text(left, height, f" {told}", va="center", fontsize=8)
    axes.set_yticks(range(len(films)), films)
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
