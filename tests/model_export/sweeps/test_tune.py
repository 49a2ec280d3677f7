"""`tune`: experiments run once each, resume, and are reported from their logs."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.optim import SGD

from model_export.__main__ import main
from model_export.data.index import Index
from model_export.network.fit import Trainer
from model_export.sweeps import claims as module
from model_export.sweeps import sweep
from model_export.sweeps.claims import check_claims, read_tuned_runs
from model_export.sweeps.tune import list_settings

SMALL = ["--size", "64", "--epochs", "2", "--base", "4", "--max-channels", "8", "--workers", "0"]
FACTS = {"size": 64, "epochs": 2, "base": 4, "max_channels": 8, "precision": "auto", "workers": 0}


def command(index: Index, folder: Path, *more: str) -> list[str]:
    files = ["--data", index.folder, "--output", folder / "runs", "--docs", folder / "docs" / "TUNING.md"]
    return ["tune", *map(str, files), *SMALL, *more]


@pytest.fixture(scope="module")
def done(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of all settings, finished."""
    folder = tmp_path_factory.mktemp("tune")
    assert main(command(index, folder)) == 0
    return folder


def log(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def picture_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_document_matches_the_logs(done: Path) -> None:
    text = (done / "docs" / "TUNING.md").read_text()
    lines = {line.split("|")[1].strip(" *"): line for line in text.splitlines() if line.startswith("|")}
    for variant in list_settings(**FACTS):
        best = max(log(done / "runs" / variant.name), key=lambda line: float(line["validation_dice"]))
        cells = [cell.strip() for cell in lines[variant.name].split("|")]
        scores = ("validation_dice_montgomery", "validation_dice_shenzhen", "validation_dice")
        assert cells[2] == variant.changes
        assert [float(cell) for cell in cells[3:6]] == pytest.approx([float(best[name]) for name in scores], abs=1e-4)
        assert cells[6] == best["epoch"]
    assert "python -m model_export tune --epochs 2 --size 64 --base 4 --max-channels 8 --precision auto" in text
    assert text.count("inconclusive: the baseline itself has not learned") == 6
    assert "All settings are finished." in text
    trained = torch.load(done / "runs" / "sgd" / "best.pt", weights_only=True)
    assert f"{trained['precision']} precision, on {trained['device']}." in text
    assert "auto precision" not in text
    assert "Adam, constant learning rate 0.0001, batch 16, 4 levels, BCE + Dice 1:1, augmentation." in text
    assert str(done) not in text
    for name in ("curves.png", "masks.png"):
        assert f"(tuning/{name})" in text
        assert picture_size(done / "docs" / "tuning" / name)[0] > 800


def test_input_sizes_keep_the_split(done: Path, index: Index) -> None:
    splits = {row.id: row.split for row in index.rows}
    for size, name in ((32, "input-half"), (96, "input-larger")):
        made = sweep.prepare_at_size(index, size, done / "runs" / "prepared" / str(size))
        assert made.size == size
        assert {row.id: row.split for row in made.rows} == splits
        assert json.loads((done / "runs" / name / "config.json").read_text())["spec"]["size"] == size
        assert picture_size(done / "runs" / name / "prediction.png") == (size, size)


def test_finished_settings_are_not_run_again(
    done: Path, index: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object) -> float:
        raise AssertionError("it trains again")

    monkeypatch.setattr(Trainer, "run_epoch", never)
    page = done / "docs" / "TUNING.md"
    before = page.read_text()
    assert main([*command(index, done), "--workers", "2"]) == 0  # it changes no result
    assert page.read_text() == before
    page.unlink()
    assert main(["tune", "--report-only", "--output", str(done / "runs"), "--docs", str(page)]) == 0
    assert page.read_text() == before
    capsys.readouterr()
    assert main([*command(index, done), "--epochs", "3"]) == 2
    assert "was started with epochs 2, not 3" in capsys.readouterr().err.splitlines()[-1]


def test_killed_sweep_resumes(
    index: Index, tmp_path: Path, epochs_left: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed in the second epoch of the second setting: three epochs are done, one is left."""
    epochs_left[0] = 3
    assert main(command(index, tmp_path, "--only", "baseline", "sgd")) == 130
    assert len(log(tmp_path / "runs" / "sgd")) == 1
    epochs_left[0] = 1
    assert main([*command(index, tmp_path, "--only", "baseline", "sgd"), "--workers", "1"]) == 0
    assert epochs_left == [0]
    assert len(log(tmp_path / "runs" / "sgd")) == 2
    text = (tmp_path / "docs" / "TUNING.md").read_text()
    assert "Not finished: levels-5, " in text
    assert "| batch 16 beat batch 1 |  | not run |" in text


def test_failed_setting_does_not_stop_the_others(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    epoch = Trainer.run_epoch

    def fail(self: Trainer, *arguments: object) -> float:
        return np.nan if isinstance(self.optimiser, SGD) else epoch(self, *arguments)

    monkeypatch.setattr(Trainer, "run_epoch", fail)
    assert main(command(index, tmp_path, "--only", "sgd", "no-augment")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: 1 failed")
    assert "sgd: the loss is nan" in said
    assert "| no-augment |" in (tmp_path / "docs" / "TUNING.md").read_text()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--only", "adagrad"], "no setting adagrad; the settings are baseline, batch-1"),
        (["--size", "80"], "must be a positive multiple of 32"),
        (["--size", "0"], "size is 0"),
        (["--report-only"], "nothing has been trained there"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(
    index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    assert main(command(index, tmp_path, *more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "docs").exists()


def test_run_with_other_settings_is_rejected(
    index: Index, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "sgd"
    run.mkdir(parents=True)
    shutil.copy(done / "runs" / "sweep.json", run.parent)
    for name in ("result.json", "config.json"):
        shutil.copy(done / "runs" / "sgd" / name, run)
    facts = json.loads((run / "config.json").read_text())
    facts["config"]["optimiser"] = "adamw"
    (run / "config.json").write_text(json.dumps(facts))
    for more in ([], ["--report-only"]):
        assert main(command(index, tmp_path, *more)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "sgd was started with other settings (optimiser adamw, not sgd); remove it or name another" in line
    assert not (tmp_path / "docs").exists()


def test_verdicts_follow_from_the_figures(done: Path) -> None:
    runs = read_tuned_runs(done / "runs", list_settings(**FACTS))

    def with_dice(**dice: float) -> dict[str, module.TunedRun]:
        return {
            name: replace(run, log=[replace(run.log[0], dice=dice.get(name.replace("-", "_"), 0.9))])
            for name, run in runs.items()
        }

    def verdicts(chosen: dict[str, module.TunedRun]) -> list[str]:
        return [finding.verdict for finding in check_claims(chosen)]

    as_found = verdicts(with_dice(baseline=0.95, seed_2=0.951, sgd=0.4))
    assert (as_found[0], as_found[2], as_found[3]) == (module.AGREES,) * 3
    assert verdicts(with_dice(baseline=0.95, seed_2=0.95, levels_5=0.96))[0] == module.CONTRARY
    # The seeds differ by more than half of this.
    assert verdicts(with_dice(baseline=0.95, seed_2=0.944, levels_5=0.96))[0] == module.NO_DIFFERENCE
    assert set(verdicts(with_dice(baseline=0.3))) == {module.NOT_LEARNT}
    assert verdicts(with_dice(sgd=0.8))[5] == "inconclusive: trained for 1 epochs"
    assert verdicts(with_dice(sgd=0.8))[2] == module.CONTRARY
    alone = {name: run for name, run in with_dice(sgd=0.4).items() if name != "baseline"}
    assert verdicts(alone)[2] == "inconclusive: there is no baseline that has learned"

    base = runs["baseline"]

    def plateau(last: int, epochs: int) -> str:
        """Return the verdict for a Dice that rises linearly until epoch ``last``."""
        log = [replace(base.log[0], number=number, dice=min(number, last) / 45) for number in range(1, epochs + 1)]
        return verdicts(runs | dict.fromkeys(("baseline", "seed-2"), replace(base, log=log)))[5]

    assert plateau(25, 40) == plateau(25, 30) == "confirmed, in one run"
    assert plateau(30, 30) == plateau(26, 30) == "inconclusive: still rising"
    assert plateau(35, 40) == "contradicted, in one run: later"
    learned = with_dice()
    holed = {
        name: replace(run, result=run.result | {"holes": 0.02 * (name == "rate-1e-5")}) for name, run in learned.items()
    }
    assert verdicts(holed)[1] == module.AGREES
    unlearnt = replace(holed["rate-1e-5"], log=[replace(base.log[0], dice=0.4)])
    assert verdicts(holed | {"rate-1e-5": unlearnt})[1] == "inconclusive: with 1e-5 it has not learned"
    # The other seed has as many holes.
    assert (
        verdicts(holed | {"seed-2": replace(holed["seed-2"], result=holed["rate-1e-5"].result)})[1]
        == module.NO_DIFFERENCE
    )
