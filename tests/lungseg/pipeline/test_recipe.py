"""The recipe: one digest for everything that decides an output's bytes besides the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungseg import __version__
from lungseg.batch.plan import BatchSpec
from lungseg.encode.formats import FORMATS
from lungseg.pipeline import recipe as recipe_module
from lungseg.pipeline.options import Options
from lungseg.pipeline.recipe import Recipe
from lungseg.server.negotiation import make_etag

BASE = Recipe(Options(), ("lung", "view"))


@pytest.mark.parametrize(
    "other",
    [
        Recipe(Options(threshold=0.5), ("lung", "view")),
        Recipe(Options(clean=False), ("lung", "view")),
        Recipe(Options(upright=False), ("lung", "view")),
        Recipe(Options(), ("lung-int8", "view")),
        Recipe(Options(), ("lung", "view-2")),
        Recipe(Options(), ("lung", "view", "third")),
    ],
)
def test_recipe_digest_depends_on_options_and_models(other: Recipe) -> None:
    assert other.digest() != BASE.digest() == Recipe(Options(), ("lung", "view")).digest()


def test_recipe_digest_depends_on_version_and_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = BASE.digest()
    assert len({plain, BASE.digest("mask"), BASE.digest("json"), BASE.digest("mask", 2), BASE.digest(2)}) == 5
    monkeypatch.setattr(recipe_module, "__version__", __version__ + "1")
    assert BASE.digest() != plain


def test_etag_and_manifest_depend_on_the_precision_of_the_model(tmp_path: Path) -> None:
    recipes = [Recipe(Options(), (digest, "view")) for digest in ("fp32", "int8")]
    assert len({make_etag(b"image", FORMATS["mask"], recipe) for recipe in recipes}) == 2
    specs = [BatchSpec(tmp_path, tmp_path, ("mask",), recipe.options, recipe.models) for recipe in recipes]
    assert specs[0].recipe != specs[1].recipe


def test_opacity_counts_only_where_it_is_a_fact() -> None:
    faint = Recipe(Options(opacity=0.1), ("lung", "view"))
    assert faint.digest() == BASE.digest()
    assert len({faint.digest(0.1), faint.digest(0.2), faint.digest()}) == 3
