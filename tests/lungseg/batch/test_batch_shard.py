"""Shards of a batch: which images they have, their manifests and locks, and that together they equal one run."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from batch_folder import mark_output, output_times, start_batch
from hypothesis import given
from hypothesis import strategies as st

from lungseg.batch import file_lock, folder_lock
from lungseg.batch.entry import Entry
from lungseg.batch.file_mark import FileMark
from lungseg.batch.folder_lock import FolderInUse
from lungseg.batch.manifest import Manifest
from lungseg.batch.manifest_file import MANIFEST_NAME, append_entry, manifest_name
from lungseg.batch.shard import Shard
from lungseg.cli.main import main


def make_entry(path: str, size: int = 1) -> Entry:
    row = {"verdict": "accept", "reasons": ""}
    return Entry(path, FileMark(size, 2, 3, 4), True, "digest", "recipe", {".mask.png": mark_output(b"1")}, {}, row)


def list_manifests(target: Path) -> set[str]:
    return {path.name for path in target.glob(".films*")}


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "LOCK_PATIENCE", 0)
    monkeypatch.setattr(folder_lock, "SHARD_PATIENCE", 0)


class TestShard:
    @pytest.mark.parametrize(
        "text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "1.5/2", "a/b", " 1/2", "1/2\n", "\u0661/\u0662"]
    )
    def test_invalid_text_is_refused(
        self, text: str, source: Path, target: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(ValueError):
            Shard.parse(text)
        with pytest.raises(SystemExit):
            main(["batch", str(source), str(target), f"--shard={text}"])
        assert "is not I/N, such as 1/8, with I from 1 to N; see lungseg batch --help" in capsys.readouterr().err

    @given(path=st.text(min_size=1), count=st.integers(1, 50))
    def test_every_image_is_in_one_shard(self, path: str, count: int) -> None:
        shards = [Shard.parse(f"{number}/{count}") for number in range(1, count + 1)]
        assert sum(shard.has_image(path) for shard in shards) == 1

    def test_image_stays_in_its_shard_in_every_version(self) -> None:
        """Or a run that is repeated after an upgrade would process images of other shards."""
        shards = {"a.png": 83, "ward/b.dcm": 47, "ö.png": 60, os.fsdecode(b"\xff.png"): 81, "ward 7/1.2.840.113619": 77}
        assert all(Shard(number, 100).has_image(name) for name, number in shards.items())

    def test_shards_are_of_similar_size(self) -> None:
        sizes = Counter(
            number for image in range(4000) for number in range(1, 5) if Shard(number, 4).has_image(f"{image:06}.dcm")
        )
        assert all(900 < sizes[number] < 1100 for number in range(1, 5))

    def test_reports_have_names_of_their_own(self, tmp_path: Path) -> None:
        assert Shard(2, 8).report_path(tmp_path / "run.json") == tmp_path / "run.2-of-8.json"
        assert Shard(2, 8).report_path(Path("/dev/stdout")) == Path("/dev/stdout")
        os.mkfifo(tmp_path / "pipe")
        assert Shard(2, 8).report_path(tmp_path / "pipe") == tmp_path / "pipe"


@pytest.mark.usefixtures("no_patience")
class TestLock:
    def test_shards_of_one_number_run_at_a_time(self, tmp_path: Path) -> None:
        with ExitStack() as stack:
            for number in range(1, 4):
                stack.enter_context(closing(Manifest(tmp_path, Shard(number, 3))))

    @pytest.mark.parametrize("second", [None, Shard(1, 3), Shard(1, 2), Shard(2, 4)])
    def test_other_runs_are_locked_out(self, tmp_path: Path, second: Shard | None) -> None:
        first = Manifest(tmp_path, Shard(1, 3))
        append_entry(tmp_path, make_entry("a.png"), Shard(1, 3))
        with pytest.raises(FolderInUse):
            Manifest(tmp_path, second)
        first.refresh()
        assert first.find("a.png") is not None
        first.close()
        with closing(Manifest(tmp_path, second)) as manifest:
            assert manifest.find("a.png") is not None

    def test_run_of_the_whole_folder_locks_shards_out(self, tmp_path: Path) -> None:
        with closing(Manifest(tmp_path)), pytest.raises(FolderInUse):
            Manifest(tmp_path, Shard(1, 3))
        Manifest(tmp_path, Shard(1, 3)).close()

    def test_orphaned_worker_keeps_both_locks(self, tmp_path: Path) -> None:
        manifest = Manifest(tmp_path, Shard(1, 2))
        inherited = [os.dup(number) for number in manifest.descriptors]
        manifest.close()
        for shard in (Shard(1, 2), None):
            with pytest.raises(FolderInUse):
                Manifest(tmp_path, shard)
        for number in inherited:
            os.close(number)
        Manifest(tmp_path, Shard(1, 2)).close()


class TestMergedManifests:
    @pytest.fixture
    def target(self, tmp_path: Path) -> Path:
        """A folder in which a shard processed a.png after a run of the whole folder had processed it and c.png."""
        for name in ("a.png", "c.png"):
            append_entry(tmp_path, make_entry(name, 1))
        append_entry(tmp_path, make_entry("a.png", 2), Shard(1, 2))
        append_entry(tmp_path, make_entry("b.png", 2), Shard(2, 2))
        return tmp_path

    def find_all(self, target: Path, shard: Shard | None) -> Iterator[tuple[str, int | None]]:
        with closing(Manifest(target, shard)) as manifest:
            for name in ("a.png", "b.png", "c.png"):
                entry = manifest.find(name)
                yield name, entry and entry.mark.size

    @pytest.mark.parametrize("shard", [None, Shard(1, 1), Shard(3, 3)])
    def test_last_line_counts_whoever_wrote_it(self, target: Path, shard: Shard | None) -> None:
        with (target / manifest_name(Shard(1, 2))).open("ab") as file:
            file.write(b'{"path": "a.png", "si')  # of a killed run
        expected = {"a.png": 2, "b.png": 2, "c.png": 1}
        assert dict(self.find_all(target, shard)) == expected
        assert list_manifests(target) == {MANIFEST_NAME, manifest_name(shard)}
        append_entry(target, make_entry("a.png", 3), shard)
        assert dict(self.find_all(target, None)) == expected | {"a.png": 3}
        assert list_manifests(target) == {MANIFEST_NAME}

    def test_shard_reads_its_own_lines_before_older_ones(self, target: Path) -> None:
        assert dict(self.find_all(target, Shard(1, 2))) == {"a.png": 2, "b.png": None, "c.png": 1}
        assert len(list_manifests(target)) == 3

    def test_run_killed_after_merging_loses_nothing(self, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail_to_remove(*_: object) -> None:
            raise InterruptedError

        with monkeypatch.context() as killed:
            killed.setattr(Path, "unlink", fail_to_remove)
            with pytest.raises(InterruptedError):
                Manifest(target)
        append_entry(target, make_entry("a.png", 3), Shard(1, 2))
        assert dict(self.find_all(target, None)) == {"a.png": 3, "b.png": 2, "c.png": 1}

    def test_no_file_is_locked_twice(self, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """On Windows, a process cannot lock again what it has locked."""
        held: set[int] = set()

        def lock_once(number: int, is_exclusive: bool) -> bool:
            assert number not in held
            held.add(number)
            return file_lock.lock_file(number, is_exclusive)

        def unlock(number: int, is_exclusive: bool) -> None:
            held.remove(number)
            file_lock.unlock_file(number, is_exclusive)

        monkeypatch.setattr(folder_lock, "lock_file", lock_once)
        monkeypatch.setattr(folder_lock, "unlock_file", unlock)
        with closing(Manifest(target, Shard(1, 3))) as manifest:
            assert held == set(manifest.descriptors)

    def test_shards_that_start_together_merge_once(self, target: Path) -> None:
        for number in range(500):
            append_entry(target, make_entry(f"{number}.png"), Shard(number % 2 + 1, 2))
        shards = [Shard(number, 8) for number in range(1, 9)]
        with ThreadPoolExecutor(8) as pool:
            manifests = list(pool.map(lambda shard: Manifest(target, shard), shards))
        for manifest in manifests:
            assert all(manifest.find(f"{number}.png") for number in range(500))
            manifest.close()
        assert (target / MANIFEST_NAME).read_bytes().count(b"\n") == 504

    def test_link_in_place_of_a_shard_is_refused(self, target: Path) -> None:
        diary = target / "diary.txt"
        diary.write_bytes(b"of another person")
        (target / ".films.1-of-9.jsonl").symlink_to(diary)
        with pytest.raises(PermissionError, match="A link is in the manifest's place; remove it"):
            Manifest(target)
        assert (target / ".films.1-of-9.jsonl").is_symlink()
        assert b"person" not in (target / MANIFEST_NAME).read_bytes()


def test_shards_together_equal_one_run(
    ward: Path, target: Path, small: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three at a time, as on three machines; then a run of the whole folder, and shards of another number."""
    for number in range(6):
        (ward / f"{number}.png").write_bytes(small)
    together, measures = target.parent / "together", target.parent / "m.csv"
    with ExitStack() as stack:
        line = ["batch", ward, together, "--csv", measures]
        shards = [stack.enter_context(start_batch(*line, "--shard", f"{n}/3")) for n in range(1, 4)]
        printed = [shard.communicate(timeout=120)[1].decode() for shard in shards]
    assert main(["batch", str(ward), str(target), "--csv", str(measures)]) == 1
    assert "11 images: 9 segmented" in capsys.readouterr().err
    one_run, written = output_times(target), output_times(together)
    assert set(one_run) == set(written)
    assert all((target / name).read_bytes() == (together / name).read_bytes() for name in one_run)
    assert all(" of 11 images\n" in text for text in printed)

    def rows(path: Path) -> list[list[str]]:
        with path.open(encoding="utf-8", newline="") as file:
            return [row[:-1] for row in csv.reader(file)]  # without the time it took

    parts = [rows(measures.with_name(f"m.{number}-of-3.csv")) for number in range(1, 4)]
    assert sorted(row for part in parts for row in part[1:]) == sorted(rows(measures)[1:])

    for options in ([], ["--shard", "1/2"], ["--shard", "2/2"]):
        assert main(["batch", str(ward), str(together), "--csv", str(measures), *options]) in (0, 1)
        assert " images: 0 segmented" in capsys.readouterr().err
    assert output_times(together) == written


def test_shard_without_images_is_no_error(ward: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [path.relative_to(ward).as_posix() for path in ward.rglob("*") if path.is_file()]
    empty = next(n for n in range(1, 1000) if not any(Shard(n, 999).has_image(name) for name in names))
    assert main(["batch", str(ward), str(target), "--shard", f"{empty}/999"]) == 0
    assert f"shard {empty}/999: 0 of 5 images" in capsys.readouterr().err
