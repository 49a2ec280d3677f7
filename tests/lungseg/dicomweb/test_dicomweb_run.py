"""`lungseg dicomweb` against a server: what it retrieves, what it stores, and what a second run does."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_server import Answer, Server, radiograph
from films import STRIPES8, dicom

from lungseg.encode.dicom_seg import dicom_seg
from lungseg.encode.formats import FORMATS
from lungseg.pipeline.segment import segment

SINCE = ("--since", "2026-01-01")


def test_results_are_stored_once_and_equal_those_of_a_file(server: Server, chest: bytes) -> None:
    images = [radiograph(chest, number) for number in range(3)]
    server.store.add(*images)
    assert server.run(*SINCE) == 0
    stored = {each.content for each in server.store.results()}
    assert stored == {dicom_seg(segment(image)) for image in images}
    before = len(server.store.requests)
    assert server.run(*SINCE) == 0
    again = server.store.requests[before:]
    assert not [path for method, path in again if method == "POST" or re.search(r"/instances/", path)]
    assert len(server.store.results()) == 3


def test_only_missing_images_of_a_study_are_segmented(server: Server, chest: bytes) -> None:
    server.store.add(radiograph(chest), radiograph(chest))
    assert server.run(*SINCE) == 0
    server.store.add(radiograph(chest))
    before = len(server.store.requests)
    assert server.run(*SINCE) == 0
    assert sum(method == "POST" for method, _ in server.store.requests[before:]) == 1
    assert len(server.store.results()) == 3


def test_result_of_another_model_or_threshold_does_not_count(
    server: Server, chest: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.store.add(radiograph(chest))
    assert server.run(*SINCE) == 0
    assert server.run(*SINCE, "--threshold", "0.4") == 0
    assert server.run(*SINCE, "--model", "lung_unet_open", "--report", tmp_path / "run.json") == 0
    assert len(server.store.results()) == 3
    counts = json.loads((tmp_path / "run.json").read_text())["counts"]
    assert (counts["segmented"], counts["results_of_other_models"]) == (1, 2)
    assert "results of another model or threshold: 2" in capsys.readouterr().err


def test_result_of_the_other_precision_counts(server: Server, chest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    server.store.add(radiograph(chest))
    for precision in ("fp32", "auto"):
        monkeypatch.setenv("LUNG_PRECISION", precision)
        assert server.run(*SINCE) == 0
    assert len(server.store.results()) == 1


def test_headers_decide_what_is_retrieved(
    server: Server, chest: bytes, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server.store.add(
        radiograph(chest, 1),
        radiograph(chest, 2, BodyPartExamined="HAND"),
        radiograph(chest, 3, ViewPosition="LL"),
        radiograph(chest, 4, SOPClassUID="1.2.840.10008.5.1.4.1.1.2"),
        radiograph(chest, 5, NumberOfFrames=2),
        radiograph(chest, 6, Modality="CT"),
        radiograph(chest, 7, StudyDate="20251231"),
        radiograph(chest, 8, BodyPartExamined=None, ViewPosition=None, Modality="DX"),
        radiograph(chest, 9, Rows=20_000),
    )
    assert server.run(*SINCE, "--dry-run", "--report", tmp_path / "run.json") == 0
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["counts"]["images_without_result"] == 2
    assert report["left_out"] == {
        "other-body-part": 1,
        "other-view": 1,
        "other-class": 1,
        "several-frames": 1,
        "unfit-size": 1,
    }
    assert server.store.count("GET", "/instances/") == server.store.count("POST", "") == 0
    assert "2 images without a result" in capsys.readouterr().err


def test_criteria_reach_the_server(server: Server, chest: bytes, tmp_path: Path) -> None:
    images = [radiograph(chest, number, StudyDate=f"2026030{number}") for number in range(1, 6)]
    server.store.add(*images)
    study = str(pydicom.dcmread(io.BytesIO(images[4])).StudyInstanceUID)
    (tmp_path / "patients").write_text("patient-2\n\npatient-3\n")
    for arguments, count in (
        (("--since", "2026-03-02", "--until", "2026-03-04"), 3),
        (("--patients", tmp_path / "patients"), 2),
        (("--study", study), 1),
        (("--all",), 5),
        (("--all", "--limit", 2), 2),
        (("--all", "--modality", "dx"), 0),
    ):
        report = tmp_path / "run.json"
        assert server.run(*arguments, "--dry-run", "--report", report) == 0
        assert json.loads(report.read_text())["counts"]["images_without_result"] == count, arguments


def test_studies_of_other_modalities_cost_no_request(server: Server, chest: bytes) -> None:
    server.store.add(radiograph(chest, 1), radiograph(chest, 2, Modality="MR"), radiograph(chest, 3, Modality="CT"))
    for names_modalities, looked in ((True, 1), (False, 3)):
        server.store.names_modalities = names_modalities
        before = server.store.count("GET", r"/series\?")
        assert server.run("--all", "--dry-run") == 0
        assert server.store.count("GET", r"/series\?") == before + looked
    # Orthanc 1.10 returns only the first page of a search by modality.
    assert server.store.count("GET", "ModalitiesInStudy=") == 0


def test_pages_are_read_to_their_end(server: Server, chest: bytes, tmp_path: Path) -> None:
    server.store.add(*(radiograph(chest, number) for number in range(23)), *(radiograph(chest) for _ in range(22)))
    for limit, ignores_offset in ((10, False), (1000, True)):
        server.store.page_limit, server.store.ignores_offset = limit, ignores_offset
        assert server.run("--all", "--dry-run", "--report", tmp_path / "run.json") == 0
        counts = json.loads((tmp_path / "run.json").read_text())["counts"]
        assert (counts["studies"], counts["images_without_result"]) == (23, 45)


def test_image_that_fails_stops_no_other(
    server: Server, chest: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = dicom(np.full((128, 128), 90, np.uint8))
    server.store.add(radiograph(damaged, 1), radiograph(chest, 2))
    assert server.run(*SINCE, "--report", tmp_path / "run.json") == 1
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["failures"] == {"blank-film": 1}
    assert len(server.store.results()) == report["counts"]["segmented"] == 1
    assert "failed: blank-film: " in capsys.readouterr().err


def test_rejected_image_gets_no_result_unless_asked(server: Server, chest: bytes, tmp_path: Path) -> None:
    stripes = radiograph(dicom(STRIPES8, Modality="CR"), 1)
    server.store.add(stripes, radiograph(chest, 2))
    assert server.run(*SINCE, "--report", tmp_path / "run.json") == 0
    report = json.loads((tmp_path / "run.json").read_text())
    assert (report["counts"]["segmented"], report["counts"]["rejected"]) == (1, 1)
    assert report["verdicts"]["reject"] == 1
    assert server.run(*SINCE, "--strict") == 3


def test_details_name_the_images_that_need_a_look(server: Server, chest: bytes, tmp_path: Path) -> None:
    blank = radiograph(dicom(np.full((128, 128), 90, np.uint8)), 1)
    stripes = radiograph(dicom(STRIPES8), 2)
    server.store.add(blank, stripes, radiograph(chest, 3))
    path = tmp_path / "look.csv"
    assert server.run(*SINCE, "--details", path) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    rows = {row["instance"]: row for row in csv.DictReader(path.read_text().splitlines())}
    outcomes = {}
    for content in (blank, stripes):
        header = pydicom.dcmread(io.BytesIO(content))
        row = rows.pop(header.SOPInstanceUID)
        assert (row["study"], row["series"]) == (header.StudyInstanceUID, header.SeriesInstanceUID)
        outcomes[row["outcome"]] = row["reasons"]
    assert outcomes.keys() == {"failed", "reject"}
    assert outcomes["failed"] == "blank-film"
    assert outcomes["reject"]
    assert rows == {}


def test_nothing_identifies_a_patient(
    server: Server, chest: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    image = radiograph(chest, 1, PatientName="Mustermann^Erika", PatientID="canary-id")
    server.store.add(image, radiograph(dicom(np.full((128, 128), 90, np.uint8)), 2, PatientID="canary-id"))
    server.store.refused = {"1.2.840.10008.5.1.4.1.1.66.4": 0xA700}
    server.run(*SINCE, "--report", tmp_path / "run.json")
    header = pydicom.dcmread(io.BytesIO(image))
    said = capsys.readouterr()
    texts = said.out + said.err + (tmp_path / "run.json").read_text() + caplog.text
    for secret in ("Mustermann", "canary-id", header.StudyInstanceUID, header.SOPInstanceUID, server.url):
        assert secret not in texts
    assert "store-failed" in texts


def test_refused_object_is_named_and_retried(server: Server, chest: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    server.store.add(radiograph(chest))
    server.store.refused = {"1.2.840.10008.5.1.4.1.1.66.4": 0x0122}
    assert server.run(*SINCE) == 1
    assert "It refused dicom-seg: the SOP class is not supported (reason 0122)." in capsys.readouterr().err
    # A partial failure has the status 202.
    server.store.store_status = 202
    assert server.run(*SINCE) == 1
    server.store.refused = {}
    assert server.run(*SINCE) == 0
    assert len(server.store.results()) == 1


def test_only_missing_formats_are_stored(server: Server, chest: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    names = [each.name for each in FORMATS.values() if each.is_dicom]
    formats = [option for name in names for option in ("--format", name)]
    server.store.add(radiograph(chest))
    server.store.refused, server.store.store_status = {FORMATS["dicom-sr"].sop_class: 0x0110}, 202
    assert server.run(*SINCE, *formats) == 1
    assert "It refused dicom-sr: processing failure (reason 0110)." in capsys.readouterr().err
    assert len(server.store.objects) == len(names)
    server.store.refused = {}
    before = set(server.store.objects)
    assert server.run(*SINCE, *formats) == 0
    (report,) = (server.store.objects[uid] for uid in server.store.objects.keys() - before)
    assert report.value("00080016") == FORMATS["dicom-sr"].sop_class
    posts = server.store.count("POST", "")
    assert server.run(*SINCE, *formats) == 0
    assert server.store.count("POST", "") == posts == 2


def test_own_secondary_capture_is_no_image(server: Server, chest: bytes, tmp_path: Path) -> None:
    server.store.add(radiograph(chest))
    both = ("--modality", "CR", "--modality", "OT")
    assert server.run(*SINCE, *both, "--format", "dicom-sc") == 0
    assert server.run(*SINCE, *both, "--again", "--dry-run", "--report", tmp_path / "run.json") == 0
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["counts"]["images_without_result"] == 1
    assert report["left_out"] == {"own-result": 1}


def test_server_that_answers_uploads_with_nothing_is_asked(server: Server, chest: bytes) -> None:
    server.store.add(radiograph(chest))
    server.store.answers_store = False
    assert server.run(*SINCE) == 0
    assert server.store.count("GET", r"/instances\?.*SOPInstanceUID=") == 1


def test_stored_object_whose_answer_was_lost_counts(
    server: Server, chest: bytes, no_pauses: list[float], tmp_path: Path
) -> None:
    server.store.add(radiograph(chest))
    lost = []

    def lose_first_upload(method: str, path: str) -> Answer | None:
        if method == "POST" and not lost:
            lost.append(path)
            return Answer(200, b"{}" + bytes(100), lost_bytes=100)
        return None

    server.store.spoil = lose_first_upload
    assert server.run(*SINCE) == 0
    assert len(server.store.results()) == 1
    assert server.store.count("POST", "") == 2


def test_wrong_object_is_never_segmented(server: Server, chest: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    asked, other = radiograph(chest, 1), radiograph(chest, 2)
    server.store.add(asked)
    each = next(iter(server.store.objects.values()))
    each.content = other
    assert server.run(*SINCE) == 1
    assert "failed: wrong-instance: " in capsys.readouterr().err
    assert server.store.count("POST", "") == 0


def test_nothing_limits_the_search(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        ((), "name --since, --until, --study or --patients, or --all for the whole archive"),
        (("--since", "2026-02-01", "--until", "2026-01-01"), "--since is after --until"),
        (("--study", "1.2/../3"), "--study is not a UID: digits and dots, at most 64"),
        (("--all", "--watch", "--dry-run"), "--dry-run counts once; drop --watch"),
        (("--all", "--report", "none/run.json"), "--report must name a file in an existing folder"),
        (("--all", "--ca-file", "none.pem"), "--ca-file does not name a file"),
        (("--all", "--ca-file", __file__), "--ca-file is not a file of certificates in PEM"),
        (("--patients", "none.txt"), "--patients cannot be read; name a text file with one Patient ID a line"),
    ):
        assert server.run(*arguments) == 2
        assert capsys.readouterr().err == f"error: {said}\n"
    assert server.store.requests == []
