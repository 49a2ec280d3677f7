"""Training: learning, resuming, several processes, data and loss."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ports import free_ports

from lungseg.model.preprocess import InputSpec
from model_export.__main__ import main
from model_export.config import Config
from model_export.data.dataset import ImageDataset, SeededSampler, share_weights
from model_export.data.dataset import balance_weights as draw_weights
from model_export.data.index import Index
from model_export.data.phantoms import TINY
from model_export.data.selection import deal_patients, split_rows, spread_rows
from model_export.network import checkpoint
from model_export.network.fit import Rank, Trainer
from model_export.network.losses import KnownBceDice
from model_export.train import train


def weights(run: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    return checkpoint.read_checkpoint(run / name)["weights"]


def test_training_learns_and_writes_its_files(index: Index, tmp_path: Path, capsys) -> None:
    flags = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    run = tmp_path / "run"
    command = ["train", "--data", str(index.folder), "--output", str(run), "--epochs", "20", "--no-augment", *flags]
    assert main(command) == 0
    with (run / "log.csv").open() as file:
        log = list(csv.DictReader(file))
    assert len(log) == 20
    assert float(log[-1]["loss"]) < 0.5 * float(log[0]["loss"])
    best = checkpoint.read_checkpoint(run / "best.pt")
    assert np.mean(list(best["validation_dice"].values())) > 0.9
    assert best["data_sha256"]
    assert json.loads((run / "config.json").read_text())["config"]["epochs"] == 20
    said = capsys.readouterr()
    assert "best validation 5th percentile" in said.out
    assert "epoch 20/20" in said.err


@pytest.mark.parametrize("augment", [False, True])
def test_resumed_run_has_identical_weights(index: Index, tmp_path: Path, epochs_left: list[int], augment: bool) -> None:
    config = Config(**TINY, epochs=4, augment=augment)
    epochs_left[0] = 4
    train(index, tmp_path / "whole", config, resume=False)

    epochs_left[0] = 2
    with pytest.raises(KeyboardInterrupt):
        train(index, tmp_path / "parts", config, resume=False)
    epochs_left[0] = 2
    train(index, tmp_path / "parts", config, resume=True)

    for name in ("last.pt", "best.pt"):
        whole, parts = weights(tmp_path / "whole", name), weights(tmp_path / "parts", name)
        assert all(torch.equal(whole[key], parts[key]) for key in whole)
    logs = [(tmp_path / run / "log.csv").read_text().splitlines() for run in ("whole", "parts")]
    assert len(logs[0]) == len(logs[1]) == 5


def test_run_is_not_overwritten(index: Index, tmp_path: Path) -> None:
    config = Config(**TINY, epochs=1)
    train(index, tmp_path, config, resume=False)
    with pytest.raises(FileExistsError, match="--resume"):
        train(index, tmp_path, config, resume=False)
    with pytest.raises(ValueError, match="another config"):
        train(index, tmp_path, Config(**TINY, epochs=2), resume=True)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint"):
        train(index, tmp_path / "new", config, resume=True)


def test_run_older_than_a_setting_resumes(index: Index, tmp_path: Path) -> None:
    config = Config(**TINY, epochs=1)
    train(index, tmp_path, config, resume=False)
    state = checkpoint.read_checkpoint(tmp_path / "last.pt")
    del state["config"]["schedule"]
    checkpoint.save_checkpoint(state, tmp_path / "last.pt")
    train(index, tmp_path, config, resume=True)


def test_constant_rate_is_constant(index: Index, tmp_path: Path) -> None:
    train(index, tmp_path, Config(**TINY, epochs=3, schedule="constant", optimiser="sgd"), resume=False)
    with (tmp_path / "log.csv").open() as file:
        assert {line["learning_rate"] for line in csv.DictReader(file)} == {"1.00e-02"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"batch": 64}, "fewer than a batch"),
        ({"leave_out": ("ok",)}, "0 images to train on"),
        ({"balance": 2.0}, "balance is 2"),
        ({"sources": ("montgomery", "jsrt")}, "jsrt; the index has montgomery, shenzhen"),
        ({"leave_out": ("bda",)}, "leave_out is bda"),
        ({"epochs": 0}, "epochs is 0"),
        ({"depth": -1}, "depth is -1"),
        ({"outputs": ("heart",)}, "outputs are heart"),
        ({"shares": ("montgomery=1",)}, "shares name montgomery"),
        ({"shares": ("montgomery=a",)}, "write it as montgomery=0.2"),
        ({"folds": 3, "fold": 3, "fold_source": "montgomery"}, "fold is 3"),
        ({"folds": 3, "fold_source": "radiologists"}, "has no image to train on"),
    ],
)
def test_invalid_settings_are_named(index: Index, tmp_path: Path, settings: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        train(index, tmp_path, Config(**(TINY | settings)), resume=False)


def test_processes_share_their_gradients(tmp_path: Path) -> None:
    """Two processes with different images have the same weights after a step."""
    torch.multiprocessing.spawn(one_step, (tmp_path, free_ports(1)[0]), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    start = Trainer(Config(**TINY), Rank(torch.device("cpu"), 0, 1), steps=1).network
    for name, before in start.named_parameters():
        assert torch.equal(one[name], two[name])
        assert not torch.equal(one[name], before)


def one_step(rank: int, folder: Path, port: int) -> None:
    """Run one step in one process of the test above."""
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    fit = Trainer(Config(**TINY), Rank(torch.device("cpu"), rank, 2), steps=1)
    random = torch.Generator().manual_seed(rank)
    fit._step(torch.randn(2, 1, 64, 64, generator=random), *torch.ones(2, 2, 2, 64, 64))
    torch.save(dict(fit.network.named_parameters()), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_resume_rejects_other_validation_images(index: Index, tmp_path: Path) -> None:
    config = Config(**TINY, epochs=1)
    train(index, tmp_path, config, resume=False)
    other = {"validation": "test", "test": "validation"}
    swapped = [replace(row, split=other.get(row.split, row.split)) for row in index.rows]
    with pytest.raises(ValueError, match="another validation_sha256"):
        train(replace(index, rows=swapped), tmp_path, config, resume=True)


def test_two_torchrun_processes_train_like_one(index: Index, tmp_path: Path) -> None:
    """The same images in the same steps with averaged gradients; on a CPU each process has its own batch statistics."""
    losses = {}
    for processes in (1, 2):
        run = tmp_path / str(processes)
        flags = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
                *("-m", "model_export", "train", "--data", index.folder, "--output", run),
                *("--epochs", "4", "--no-augment", *flags),
            ],
            check=True,
            capture_output=True,
        )
        with (run / "log.csv").open() as file:
            losses[processes] = [float(line["loss"]) for line in csv.DictReader(file)]
    assert losses[2] == pytest.approx(losses[1], rel=1e-3)


class TestData:
    def test_each_epoch_has_its_own_order(self) -> None:
        whole = SeededSampler(np.ones(10), seed=1)
        first = list(whole)
        whole.epoch = 1
        second = list(whole)
        assert sorted(item % 10 for item in first) == sorted(item % 10 for item in second) == list(range(10))
        assert [item % 10 for item in first] != [item % 10 for item in second]
        assert len({*first, *second}) == 20  # each item has its own augmentation
        halves = [list(SeededSampler(np.ones(10), 1, rank, 2)) for rank in range(2)]
        assert sorted(halves[0] + halves[1]) == sorted(first)

    @pytest.mark.parametrize(("balance", "drawn"), [(0, 100), (0.5, 500 / 3), (1, 250)])
    def test_balance_moves_the_share_of_the_smaller_set(self, index: Index, balance: float, drawn: float) -> None:
        """100 images of one set and 400 of another are drawn 1 to 4, 1 to 2 or 1 to 1, evenly within each set."""
        rows = [replace(index.rows[0], source="small" if number < 100 else "large") for number in range(500)]
        images = Counter(item % 500 for item in SeededSampler(draw_weights(rows, balance), seed=1))
        small = [images[number] for number in range(100)]
        assert sum(images.values()) == 500
        assert sum(small) == pytest.approx(drawn, abs=6)
        assert max(small) - min(small) <= 1

    def test_augmentation_depends_on_the_seed_only(self, index: Index) -> None:
        spec = InputSpec(size=index.size)
        rows = index.select("train")
        one, other = (
            ImageDataset(index, rows, spec, augment=True, seed=5),
            ImageDataset(index, rows, spec, augment=True, seed=5),
        )
        for item in range(40):
            for a, b in zip(one[item], other[item], strict=True):
                assert torch.equal(a, b)
        assert not torch.equal(one[0][0], one[len(rows)][0])  # another epoch
        assert not torch.equal(one[0][0], ImageDataset(index, rows, spec, augment=True, seed=6)[0][0])

    def test_exposure_and_geometry_are_independent(self, index: Index) -> None:
        """With one seed the transforms would draw alike, and every mirrored image would be dark, say."""
        augment = ImageDataset(index, index.select("train"), InputSpec(size=index.size), augment=True, seed=1).augment
        both = []
        for draw in range(400):
            augment.reseed(draw)
            gamma, affine = augment.exposure.transforms[0], augment.usual.transforms[0]
            gamma.randomize(None)
            affine.randomize(None)
            both.append((gamma._do_transform, affine._do_transform))
        share = np.mean([gamma for gamma, moved in both if not moved])
        assert 0.25 < share < 0.75  # half of the unmoved images have their gamma changed, as half of all do

    def test_augmented_masks_stay_on_their_lungs(self, index: Index) -> None:
        """On average the lungs stay darker than the body, including inverted images and opacities."""
        images = ImageDataset(index, index.select("train"), InputSpec(size=index.size), augment=True, seed=1)
        contrast = []
        for item in range(48):
            radiograph, target, known = images[item]
            assert radiograph.shape == target.shape == known.shape == (1, index.size, index.size)
            assert target.min() == 0
            assert target.max() == 1
            assert known.min() == 1  # a lung mask defines all of lung
            assert torch.isfinite(radiograph).all()
            contrast.append(float(radiograph[target > 0].mean() - radiograph[target == 0].mean()))
        assert np.median(contrast) < -0.15

    def test_training_input_matches_serving(self, index: Index) -> None:
        from lungseg.decode import decode
        from lungseg.model.preprocess import preprocess

        spec = InputSpec(size=index.size, channels=3)
        rows = index.rows
        images = ImageDataset(index, rows, spec, augment=False)
        for item, row in enumerate(rows):
            served, _ = preprocess(decode((index.input / row.image).read_bytes()).pixels, spec)
            # Prepared images have 8 bits, so values may differ by rounding.
            assert np.abs(images[item][0].numpy() - served[0]).max() < 0.06

    def test_shares_set_the_share_of_each_set(self, index: Index) -> None:
        rows = [replace(index.rows[0], source="small" if number < 20 else "large") for number in range(100)]
        drawn = share_weights(rows, {"small": 0.75, "large": 0.25})
        small = sum(item % 100 < 20 for item in SeededSampler(drawn, seed=1, draws=40))
        assert abs(small - 30) <= 1
        for shares in ({"small": 1.0}, {"small": 0.5, "large": 0.0}, {"small": 0.5, "large": 0.3, "other": 0.2}):
            with pytest.raises(ValueError, match="needs a share above 0"):
                share_weights(rows, shares)

    def test_spread_takes_images_of_every_set(self, index: Index) -> None:
        rows = [replace(index.rows[0], id=str(number), source="ab"[number % 2]) for number in range(20)]
        assert Counter(row.source for row in spread_rows(rows, 4)) == {"a": 4, "b": 4}
        assert len({row.id for row in spread_rows(rows, 4)}) == 8
        assert len(spread_rows(rows, 0)) == 20


class TestFolds:
    def test_folds_are_even_and_split_by_patient(self, index: Index) -> None:
        rows = [replace(index.rows[0], id=str(number), patient=str(number % 7)) for number in range(30)]
        folds = deal_patients(rows, 3)
        assert folds == deal_patients(rows[::-1], 3)
        sizes = Counter(folds[row.patient] for row in rows)
        assert set(sizes) == {0, 1, 2}
        assert max(sizes.values()) - min(sizes.values()) <= 5

    def test_held_out_fold_is_for_validation_only(self, index: Index) -> None:
        left_out = []
        for fold in range(3):
            config = Config(folds=3, fold=fold, fold_source="montgomery")
            train_rows, validation_rows = split_rows(index, config)
            trained = {row.patient for row in train_rows}
            own = [row for row in validation_rows if row.source == "montgomery"]
            assert own
            assert not trained & {row.patient for row in own}
            assert [row for row in validation_rows if row.source == "shenzhen"] == index.select(
                "validation", (), ("shenzhen",)
            )
            left_out += [row.id for row in own]
        both = index.select("train", (), ("montgomery",)) + index.select("validation", (), ("montgomery",))
        assert sorted(left_out) == sorted(row.id for row in both)


class TestLoss:
    def test_loss_is_bce_plus_dice(self) -> None:
        logits, target = torch.tensor([[[[2.0, -1.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
        known = torch.ones_like(target)
        p = torch.sigmoid(logits)
        bce = -(torch.log(p[..., 0]) + torch.log(1 - p[..., 1])).item() / 2
        dice = 1 - (2 * p[..., 0] / (p.sum() + 1)).item()
        assert KnownBceDice(1, 0)(logits, target, known).item() == pytest.approx(bce, abs=1e-4)
        assert KnownBceDice(0, 1)(logits, target, known).item() == pytest.approx(dice, abs=1e-4)
        assert KnownBceDice(2, 3)(logits, target, known).item() == pytest.approx(2 * bce + 3 * dice, abs=1e-4)

    def test_loss_ignores_unknown_pixels(self) -> None:
        torch.manual_seed(1)
        logits, known = torch.randn(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
        target = (torch.rand(2, 1, 8, 8) > 0.5).float()
        known[..., :3] = 0
        loss = KnownBceDice()(logits, target, known)
        target[..., :3] = 1 - target[..., :3]
        logits[..., :3] += 5
        assert KnownBceDice()(logits, target, known).item() == pytest.approx(loss.item())

    def test_lung_outside_the_field_is_penalised(self) -> None:
        target, known = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
        inside, outside = (torch.stack([torch.ones(4, 4), torch.full((4, 4), each)])[None] for each in (3.0, -3.0))
        loss = KnownBceDice(dice_weight=0)
        assert loss(outside, target, known) > loss(inside, target, known) + 0.3

    def test_loss_adds_share_of_lung_outside_field(self) -> None:
        logits, known = torch.full((1, 2, 4, 4), 9.0), torch.ones(1, 2, 4, 4)
        target = torch.zeros(1, 2, 4, 4)
        target[:, :, 1:] = 1  # one row of four is outside the field
        weighed, plain = KnownBceDice(outside_weight=3), KnownBceDice(outside_weight=0)
        assert (weighed(logits, target, known) - plain(logits, target, known)).item() == pytest.approx(0.75, abs=1e-3)
        known[:, 1, 0] = 0  # a lung mask does not define what is outside the field
        assert weighed(logits, target, known).item() == plain(logits, target, known).item()
