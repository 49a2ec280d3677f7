"""`lungseg pacs`: what its command line and its variables say, and the queue's state in text and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes import only_line

from lungseg.cli.main import build_parser, main
from lungseg.cli.pacs_config import read_config
from lungseg.errors import ModelError
from lungseg.pacs.image_queue import ImageQueue
from lungseg.pacs.node_config import NodeConfig, RemoteNode
from lungseg.pacs.queue_database import QueueDatabase


def config(*options: str) -> NodeConfig:
    return read_config(build_parser().parse_args(["pacs", "serve", *options]))


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    """Return the folder of a queue with an image that waits, one that was left alone, and a dead one."""
    database = QueueDatabase(tmp_path / "queue.sqlite")
    images = ImageQueue(database)
    for key in ("a", "b", "c"):
        images.add_image(key)
    for end, reason in ((images.leave_alone, "other-view"), (images.bury_image, "timed-out")):
        image = images.claim_image()
        assert image is not None
        end(image, reason)
    database.close()
    return tmp_path


def test_environment_stands_in_for_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TO": "PACS@[::1]:104",
        "AET": " LUNGS ",
        "PORT": "11113",
        "PEERS": "CR1,PACS",
        "FOLDER": "/var/lib/lungs",
        "FORMATS": "dicom-seg dicom-sc",
    }.items():
        monkeypatch.setenv(f"LUNG_PACS_{name}", value)
    found = config()
    assert found.destination == RemoteNode("PACS", "::1", 104)
    assert (found.ae_title, found.port, found.peers) == ("LUNGS", 11113, {"CR1", "PACS"})
    assert (found.folder, found.formats) == (Path("/var/lib/lungs"), ("dicom-seg", "dicom-sc"))
    found = config("--to", "A@b:1", "--aet", "C", "--port", "2", "--peer", "D", "--folder", "e", "--format", "dicom-sr")
    assert found.destination == RemoteNode("A", "b", 1)
    assert (found.ae_title, found.port, found.peers, found.folder) == ("C", 2, {"D"}, Path("e"))
    assert found.formats == ("dicom-sr",)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], "error: --to is missing; name the PACS as AET@HOST:PORT"),
        (["--to", "PACS"], "error: argument --to: 'PACS' is not AET@HOST:PORT, as in PACS@pacs.example.org:104"),
        (["--to", "PACS@host:0"], "error: argument --to: '0' is not a port from 1 to 65535"),
        (["--to", "P\\S@host:1"], "error: argument --to: 'P\\\\S' is not an AE title: 1 to 16 characters"),
        (["--to", "A@b:1", "--peer", "x" * 17], "error: argument --peer: 'xxxxxxxxxxxxxxxxx' is not an AE title"),
        (["--to", "A@b:1", "--tls-cert", "x.pem"], "error: --tls-cert and --tls-key belong together; name both"),
        (["--to", "A@b:1", "--tls-ca", "x.pem"], "error: --tls-ca needs --tls-cert and --tls-key"),
        (["--to", "A@b:1", "--tls-cert", "x.pem", "--tls-key", "x.key"], "error: --tls-cert must name a PEM file"),
        (["--to", "A@b:1", "--format", "mask"], "error: argument --format: "),
    ],
)
def test_wrong_option_is_one_line(options: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pynetdicom")
    try:
        code = main(["pacs", "serve", *options])
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    assert only_line(capsys).startswith(line)


@pytest.mark.parametrize(
    ("name", "value"), [("TO", "PACS"), ("AET", ""), ("PORT", "x"), ("PEERS", "A,,B"), ("FORMATS", "mask")]
)
def test_wrong_variable_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNG_PACS_TO", "A@b:1")
    monkeypatch.setenv(f"LUNG_PACS_{name}", value)
    with pytest.raises((Exception, ModelError), match=f"LUNG_PACS_{name}"):
        config()


def test_status_lists_states_and_dead_letters(queue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pacs", "status", "--folder", str(queue)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "images: 1 dead, 1 done, 1 waiting; the oldest arrived 0 seconds ago",
        "results: none",
        "left alone: 1 other-view",
        "dead letters: 1",
        "  2        image        timed-out, 1 try",
    ]
    assert main(["pacs", "status", "--folder", str(queue), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["dead_letters"] == [{"id": 2, "format": None, "reason": "timed-out", "tries": 1}]
    assert document["images"] == {"dead": 1, "done": 1, "waiting": 1}
    assert document["oldest_seconds"] >= 0


def test_retry_queues_dead_letters(queue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pacs", "retry", "3", "--folder", str(queue)]) == 2
    assert only_line(capsys) == "error: there is no dead letter 3; `lungseg pacs status` lists them"
    assert main(["pacs", "retry", "--folder", str(queue)]) == 2
    assert only_line(capsys) == "error: name one id, or --all"
    assert main(["pacs", "retry", "2", "--folder", str(queue)]) == 0
    assert main(["pacs", "retry", "--all", "--folder", str(queue)]) == 0
    assert capsys.readouterr().err.splitlines() == ["1 queued again", "0 queued again"]
    main(["pacs", "status", "--folder", str(queue)])
    assert "dead letters: 0" in capsys.readouterr().out


def test_folder_without_a_queue_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pacs", "status", "--folder", str(tmp_path)]) == 2
    assert only_line(capsys) == "error: there is no queue in this folder; name the node's with --folder"
    (tmp_path / "queue.sqlite").write_bytes(b"not a database, but long enough to be looked at")
    assert main(["pacs", "status", "--folder", str(tmp_path)]) == 2
    assert only_line(capsys).startswith("error: the queue cannot be used (DatabaseError)")
