"""Canaries in files given to the command line appear nowhere, but that file names appear on the terminal of the person
who typed them, and in the reports that they requested.
"""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest
from canaries import canary, caught
from canary_images import CARRIED, CanaryImage
from leak_check import DICOM_FORMATS, PATIENT_FORMATS, LeakCheck, some
from ledger import WHOLE, Ledger
from processes import command
from services import Gateway, serving

from lungseg.cli.main import main
from lungseg.encode.formats import FORMATS


@pytest.fixture
def ward(tmp_path: Path, images: list[tuple[CanaryImage, str | None]]) -> Path:
    """Return a folder of images whose names are canaries as well."""
    folder = tmp_path / canary("folderName")
    folder.mkdir()
    for number, (image, _) in enumerate(images):
        (folder / f"{canary('fileName')} {number}").write_bytes(image.data)
    return folder


NAMES = frozenset({"fileName", "folderName"})


def test_segment_leaks_no_canary(
    leaks: LeakCheck,
    images: list[tuple[CanaryImage, str | None]],
    ward: Path,
    capfd: pytest.CaptureFixture[str],
    ledger: Ledger,
) -> None:
    cases = [
        (number, form) for number, (_, code) in enumerate(images) for form in (FORMATS if code is None else ("mask",))
    ]
    for number, form in some(cases, 12):
        image, code = images[number]
        path, output = ward / f"{canary('fileName')} {number}", ward.parent / "output"
        status = main(["segment", str(path), "--format", form, "-o", str(output)])
        said = capfd.readouterr()
        wrote = output.read_bytes() if output.exists() else b""
        output.unlink(missing_ok=True)
        allowed = CARRIED if form in PATIENT_FORMATS and "dicom" in image.name.lower() else frozenset()
        if form == "all":
            allowed |= {"fileName"}  # the members of a ZIP are named after the image, as single outputs are
        leaks.search(f"segment {image.name} as {form}", image.places, wrote, allowed=allowed)
        # The person typed the name, but an error does not need it.
        leaks.search("segment's lines", image.places | NAMES, said.out, said.err, allowed=() if status else NAMES)
        assert (status == 0) == (code is None and not refused_form(image, form)), (image.name, form)
    for arguments in (
        ["segment", str(ward / canary("missing"))],
        ["segment", str(ward)],
        ["segment", str(ward / f"{canary('fileName')} 0"), "-o", str(ward / canary("missing") / "output")],
    ):
        assert main(arguments) != 0
        leaks.search("files", NAMES, allowed={*NAMES, "missing"})
    leaks.enter(ledger, "segment", "stdout and stderr, output")


def refused_form(image: CanaryImage, form: str) -> bool:
    """Return whether an output format is not possible for a valid image."""
    no_lung = form in ("cutout", "isolated", *DICOM_FORMATS) and image.name.startswith("stripes")
    return no_lung or (form in DICOM_FORMATS and "dicom" not in image.name.lower())


def test_batch_leaks_no_canary(
    leaks: LeakCheck, images: list[tuple[CanaryImage, str | None]], ward: Path, tmp_path: Path, ledger: Ledger
) -> None:
    target, report, table = tmp_path / "out", tmp_path / "run.json", tmp_path / "table.csv"
    forms = [name for name in FORMATS if name not in PATIENT_FORMATS] if WHOLE else ["json", "preview"]
    arguments = itertools.chain(*(("--format", form) for form in forms))
    done = subprocess.run(
        command("batch", ward, target, *arguments, "--report", report, "--csv", table, "--no-upright"),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    places = frozenset[str]().union(*(image.places for image, _ in images))
    leaks.search("batch's lines", places | NAMES, done.stdout, done.stderr, allowed=NAMES)
    for path in (report, table, target / ".films.jsonl"):
        content = path.read_bytes()
        assert caught(content) >= {"fileName"}
        leaks.search(path.name, places, content, allowed=NAMES)
    outputs = [path for path in target.rglob("*") if path.is_file() and path.name != ".films.jsonl"]
    assert len(outputs) >= len(images)
    for path in outputs:
        leaks.search(path.suffix, places | NAMES, path.read_bytes())
    leaks.enter(ledger, "batch", "stdout and stderr, outputs, problem documents, manifest and reports")


def test_remote_leaks_no_canary(
    leaks: LeakCheck,
    images: list[tuple[CanaryImage, str | None]],
    ward: Path,
    capfd: pytest.CaptureFixture[str],
    ledger: Ledger,
) -> None:
    gateway = Gateway()
    with serving(gateway) as address:
        for number, (image, code) in some(enumerate(images), 4):
            path, output = ward / f"{canary('fileName')} {number}", ward.parent / "output"
            status = main(["remote", "segment", str(path), "--url", address, "-o", str(output)])
            said = capfd.readouterr()
            assert (status == 0) == (code is None), image.name
            leaks.search(f"remote {image.name}", image.places | NAMES, said.out, said.err, repr(gateway.seen))
    leaks.enter(ledger, "remote", "stdout and stderr, requests without the image")
