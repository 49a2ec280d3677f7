"""The container image for a workstation: every command of docs/howto/container.md, and the settings of compose.yaml.

`make workstation` runs this. Without python:3.12-slim-bookworm, the image is built on the one of AWS Lambda.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import base_image
from engine import ROOT, run

from lungseg import segment

PAGE = (ROOT / "docs" / "howto" / "container.md").read_text()
COMMANDS = [
    line.strip()
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
BUILD_FILES = ("Dockerfile.workstation", "workstation.lock", "lungseg", "pyproject.toml", "README.md", "data", "tests")

USER = 1234
"""Neither root nor the image's own user."""


def command(start: str) -> str:
    """Return the page's command that starts with a text."""
    (found,) = [line for line in COMMANDS if line.startswith(start)]
    return found


def shell(text: str, folder: Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the page in a folder."""
    return subprocess.run(["bash", "-c", text], cwd=folder, capture_output=True, timeout=300, check=False, **options)


@pytest.fixture(scope="module")
def workstation(docker: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build the image; return its tag. Engines without BuildKit read only .dockerignore, so the other is put there."""
    base = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile.workstation").read_text(), re.MULTILINE)[0]
    if subprocess.run(["docker", "image", "inspect", base], capture_output=True, check=False).returncode:
        try:
            run("docker", "pull", base)
        except AssertionError:
            print(f"\n{base} cannot be pulled: built on {base_image()}")
            text = f"FROM {base_image()}\nENTRYPOINT []\nENV PYTHONPATH=\n"
            run("docker", "build", "--tag", base, "-", input=text)
    context = tmp_path_factory.mktemp("context")
    for name in BUILD_FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, context)
    shutil.copy(ROOT / "Dockerfile.workstation.dockerignore", context / ".dockerignore")
    started = time.monotonic()
    run(*command("docker build").split(), "--network", "host", cwd=context, seconds=900)
    size, based = (int(run("docker", "image", "inspect", "-f", "{{.Size}}", tag).stdout) for tag in ("lungseg", base))
    print(f"\nimage: {size / 1e6:.0f} MB, of which the base has {based / 1e6:.0f}; {time.monotonic() - started:.0f} s")
    return "lungseg"


@pytest.fixture
def folder(rg1: bytes, small: bytes, tmp_path: Path) -> Path:
    """Return a folder of a user, with images, and a file that Python must not import."""
    (tmp_path / "images").mkdir()
    (tmp_path / "image.dcm").write_bytes(rg1)
    (tmp_path / "images" / "a.png").write_bytes(small)
    (tmp_path / "images" / "b.dcm").write_bytes(rg1)
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported from the working directory')\n")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, USER, USER)
    tmp_path.chmod(0o755)
    return tmp_path


@contextlib.contextmanager
def served(text: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Start a command that serves; yield the container's name and the address, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = shell(text.replace("127.0.0.1:8000:", f"127.0.0.1:{port}:").replace(" run ", " run --detach ", 1), folder)
    assert done.returncode == 0, done.stderr
    name, url = done.stdout.decode().strip(), f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(ConnectionError, urllib.error.URLError):
                urllib.request.urlopen(f"{url}/ready", timeout=10).close()
                break
            assert time.monotonic() < deadline, run("docker", "logs", name).stderr
            time.sleep(0.2)
        yield name, url
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)  # or --rm does it


def post(url: str, image: bytes) -> bytes:
    """Return the mask that a server makes."""
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/segment", data=image), timeout=60) as response:
        return bytes(response.read())


def test_image_serves(workstation: str, small: bytes, folder: Path) -> None:
    with served(command("docker run --rm -p"), folder) as (name, url):
        assert post(url, small) == segment(small).encode()
        with urllib.request.urlopen(f"{url}/", timeout=10) as page:
            assert b"<html" in page.read()
        (image,) = json.loads(run("docker", "image", "inspect", workstation).stdout)
        run("docker", "exec", name, *image["Config"]["Healthcheck"]["Test"][1:])
        assert run("docker", "exec", name, "id", "-u").stdout.strip() == "1000"
        started = time.monotonic()
        run("docker", "stop", name)
        assert time.monotonic() - started < 8  # not killed after 10 s


def test_folder_is_segmented_for_the_caller(workstation: str, small: bytes, rg1: bytes, folder: Path) -> None:
    text = command("docker run --rm --network none --user").replace('"$(id -u):$(id -g)"', f"{USER}:{USER}")
    done = shell(text, folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "masks" / "a.png.mask.png").read_bytes() == segment(small).encode()
    assert (folder / "masks" / "b.dcm.mask.png").read_bytes() == segment(rg1).encode()
    assert {path.stat().st_uid for path in (folder / "masks").rglob("*")} == {USER}
    assert b"2 done before" in shell(text, folder).stderr


def test_one_image_through_pipes(workstation: str, rg1: bytes, folder: Path) -> None:
    done = shell(command("docker run --rm --interactive"), folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "mask.png").read_bytes() == segment(rg1).encode()


def test_folder_of_another_user_gives_a_clear_error(workstation: str, folder: Path) -> None:
    done = shell(command("docker run --rm --network none --user").replace('--user "$(id -u):$(id -g)"', ""), folder)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "error: Permission denied: masks"


def test_compose_file_is_locked_down(workstation: str, rg1: bytes, folder: Path) -> None:
    """Run with the options that compose.yaml stands for: `docker compose` is not everywhere."""
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["lungseg"]
    assert service.pop("build") == {"context": ".", "dockerfile": "Dockerfile.workstation"}
    assert service.pop("restart") == "unless-stopped"
    assert service.pop("image") == workstation
    (port,) = service.pop("ports")
    assert port == "127.0.0.1:8000:8000"
    options = [f"--publish {port}", f"--memory {service.pop('mem_limit')}", f"--pids-limit {service.pop('pids_limit')}"]
    options += [f"--tmpfs {path}" for path in service.pop("tmpfs")]
    options += [f"--cap-drop {name}" for name in service.pop("cap_drop")]
    options += [f"--security-opt {name}" for name in service.pop("security_opt")]
    options += [f"--env {name}={value}" for name, value in service.pop("environment").items()]
    options += ["--read-only"] * service.pop("read_only")
    options += ["--init"] * service.pop("init")
    assert service == {}, "an option that this test does not know"
    with served(f"docker run {' '.join(options)} {workstation}", folder) as (name, url):
        assert post(url, rg1) == segment(rg1).encode()
        program = "open('/opt/lungseg/x', 'w')"
        refused = subprocess.run(
            ["docker", "exec", "--user", "0", name, "python3", "-c", program],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Read-only file system" in refused.stderr


def test_image_contains_the_command_and_nothing_else(workstation: str) -> None:
    listed = run("docker", "run", "--rm", workstation, "python3", "-c", "import os; print(*os.listdir('/opt/lungseg'))")
    names = set(listed.stdout.split())
    assert {"lungseg", "onnxruntime", "fastapi", "uvicorn"} <= names
    assert not names & {"torch", "mangum", "boto3", "app", "tests", "data", "data_store", "pyproject.toml"}


def test_compose_commands_are_those_of_the_page() -> None:
    assert [line for line in COMMANDS if "compose" in line] == ["docker compose up --detach", "docker compose down"]
    assert len(COMMANDS) == 6
