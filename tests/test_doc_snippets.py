"""Every command and Python snippet of README and docs is executed, or is listed in NOT_EXECUTED with the reason."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from page_driver import local_server
from PIL import Image
from pydicom.data import get_testdata_file

from lungseg.cli import main
from lungseg.decode import decode

ROOT = Path(__file__).resolve().parents[1]

PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)

NOT_COMMANDS = {"mermaid", "math", "json", "text"}

NOT_EXECUTED = {
    r"^(sam|aws|docker) ": "needs an AWS account or Docker; `make e2e` and `make workstation` do the same",
    r"^for name in x86_64 arm64": "deploys to AWS",
    r"^lungseg (remote|doctor --stack) ": "needs an AWS account; parsed here",
    r"^git ": "changes the working tree",
    r"^make ": "CI runs the targets; here they must exist",
    r"^pip install ": "`make dist` installs the wheel into an empty environment",
    r"-m model_export": "trains for hours; parsed by tests/model_export/test_docs.py",
    r"^(python - <<|python -c )": "needs prepared training data; tests/model_export/test_docs.py checks imports",
    r"^python -m benchmarks": "measures for minutes",
    r"data/prepared|runs/": "needs a training run",
    r"lungseg serve$": "is started below, on a free port",
    r" --watch$": "runs until it is stopped",
    r"^nohup ": "is the command above it, in the background",
    r"^(sbatch|parallel) ": "needs a cluster",
    r"^lungseg pacs |^echoscu |:8104/": "needs a PACS; parsed here",
    r"^store(scu|scp) |:8042/": "needs a PACS; lungseg's commands are parsed here",
    r"^import (ray|pandas)\b": "needs a cluster",
}
"""Patterns of commands and snippets that are not executed, and why."""


@dataclass(frozen=True)
class Snippet:
    """One command line, or one program."""

    language: str
    text: str


def snippets(page: str) -> list[Snippet]:
    """Return the commands and programs of a page, each once."""
    found: dict[Snippet, None] = {}
    for fence in FENCE.finditer((ROOT / page).read_text()):
        language, text = fence["language"], textwrap.dedent(fence["text"]).strip()
        if language in NOT_COMMANDS:
            continue
        if language in {"python", "javascript"} or "<<'E'" in text or "; do\n" in text or text.startswith("#!"):
            found[Snippet(language or "console", text)] = None
            continue
        for line in text.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+# .*$", "", line).strip()
            if command and not command.startswith("#"):
                found[Snippet("console", command)] = None
    return list(found)


def reason_not_to_execute(snippet: Snippet) -> str | None:
    """Return why a snippet is not executed."""
    return next((why for pattern, why in NOT_EXECUTED.items() if re.search(pattern, snippet.text)), None)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with local_server() as url:
        yield url


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the pages name."""
    folder = tmp_path_factory.mktemp("images")
    shutil.copy(str(get_testdata_file("RG1_UNCR.dcm", download=False)), folder / "image.dcm")
    greys = decode((folder / "image.dcm").read_bytes()).pixels
    picture = Image.fromarray((greys.astype(float) / greys.max() * 255).astype("uint8"))
    picture.thumbnail((700, 700))
    picture.save(folder / "image.png")
    picture.save(folder / "image.jpg")
    (folder / "images").mkdir()
    picture.save(folder / "images" / "a.png")
    return folder


@pytest.fixture
def folder(images: Path, tmp_path: Path) -> Path:
    """Return a copy of the images, with commands beside it."""
    shutil.copytree(images, tmp_path / "work")
    (tmp_path / "bin").mkdir()
    for name, module in {"lungseg": "-m lungseg", "python": ""}.items():
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
        command.chmod(0o755)
    (tmp_path / ".curlrc").write_text("fail\n")  # curl succeeds otherwise, whatever the status
    return tmp_path / "work"


def execute(snippet: Snippet, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run a snippet in a folder, with the address of a running server."""
    text = snippet.text.replace("http://127.0.0.1:8000", url)
    shell = ["bash", "-euo", "pipefail", "-c", text]
    command = {
        "console": shell,
        "bash": shell,
        "python": [sys.executable, "-c", text],
        "javascript": ["node", "--input-type=module", "-e", text],
    }[snippet.language]
    path = f"{folder.parent / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(folder.parent)}
    environment["SLURM_ARRAY_TASK_ID"] = "83"  # the task that images/a.png belongs to
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("page", [page for page in PAGES if any(not reason_not_to_execute(s) for s in snippets(page))])
def test_snippets_succeed(page: str, folder: Path, url: str) -> None:
    failed = {}
    for snippet in snippets(page):
        if reason_not_to_execute(snippet) or (snippet.language == "javascript" and not shutil.which("node")):
            continue
        done = execute(snippet, folder, url)
        if done.returncode:
            failed[snippet.text] = done.stderr[-500:]
    assert failed == {}


def test_failures_are_noticed(folder: Path, url: str) -> None:
    for language, text in {
        "console": "curl --data-binary @image.dcm http://127.0.0.1:8000/v1/segment?format=none | cat",
        "python": "import lungseg.none",
        "javascript": "throw new Error('no')",
    }.items():
        if language != "javascript" or shutil.which("node"):
            assert execute(Snippet(language, text), folder, url).returncode


def test_every_reason_is_needed() -> None:
    texts = [snippet.text for page in PAGES for snippet in snippets(page)]
    unused = [pattern for pattern in NOT_EXECUTED if not any(re.search(pattern, text) for text in texts)]
    assert unused == []


def test_documented_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = [(ROOT / page).read_text() for page in PAGES]
    named = {name for text in texts for name in re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", text, re.MULTILINE)}
    assert named - targets == set()


def test_remote_commands_parse() -> None:
    for page in PAGES:
        for snippet in snippets(page):
            if re.match(r"lungseg (remote|doctor|dicomweb|pacs) ", snippet.text):
                main.build_parser().parse_args(shlex.split(snippet.text.split(" | ")[0], comments=True)[1:])


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 900
