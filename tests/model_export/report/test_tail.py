"""`tail`: held-out scores and silent failures."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from model_export.config import Config
from model_export.data.index import Index
from model_export.report.tail import TailScore, pair_with_models, score_tail, sets_table
from model_export.train import train

SMALL = Config(base=4, depth=3, max_channels=8, epochs=1, folds=2, fold_source="montgomery")


def test_held_out_images_are_scored_by_their_fold(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lungseg.limits.MIN_SIDE", 16)
    for fold in range(2):
        train(index, tmp_path / str(fold), replace(SMALL, fold=fold), resume=False)
    jobs = list(pair_with_models(index, [tmp_path / "0" / "last.pt", tmp_path / "1" / "last.pt"], "validation"))
    folded = [(row.patient, model.sha256) for row, model in jobs if row.source == "montgomery"]
    in_play = [row for row in index.rows if row.source == "montgomery" and row.split in ("train", "validation")]
    assert sorted(patient for patient, _ in folded) == sorted(row.patient for row in in_play)
    assert len({digest for _, digest in folded}) == 2
    assert len({model.sha256 for row, model in jobs if row.source == "shenzhen"}) == 1

    scored = score_tail(index, jobs, tmp_path / "tail")
    with (tmp_path / "tail" / "tail.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [row.id for row, _ in jobs]
    assert [float(row["score"]) for row in rows] == pytest.approx([each.score for each in scored], abs=1e-5)
    assert (tmp_path / "tail" / "worst.png").exists()


def test_sets_table_counts_silent_failures(index: Index) -> None:
    row = replace(index.rows[0], source="a", finding="")
    cases = ((0.95, "accept"), (0.85, "accept"), (0.85, "review"), (0.5, "reject"))
    header, line = sets_table([TailScore(row, score, 0.02, decision, None) for score, decision in cases])
    found = dict(zip(header, line, strict=True))
    assert (found["images"], found["below 0.90"], found["silent"]) == ("4", "3", "1")
    assert (found["worst"], found["outside"]) == ("0.5000", "0.0200")
    assert (found["accepted"], found["rejected"]) == ("0.500", "0.250")
