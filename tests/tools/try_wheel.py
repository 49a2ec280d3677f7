"""Try what people install: build the wheel and the sdist, check both, and segment an image with the wheel: `make dist`.

The wheel goes into an environment with nothing else, twice: with the newest versions of what it needs, and with the
oldest ones that pyproject.toml allows. Each segments RG1 from a directory that is not the repository.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from pydicom.data import get_testdata_file

ROOT = Path(__file__).resolve().parents[2]

MAX_WHEEL_BYTES = 25_000_000
"""All weights included. PyPI's own limit is 100 MB."""

SEGMENT_BY_API = """\
import hashlib, pathlib, numpy, PIL.Image, pydicom
from lungseg import segment
path = pathlib.Path("RG1.dcm")
first = segment(path)
greys = first.radiograph.pixels
kinds = [str(path), path.read_bytes(), path.open("rb"), greys, PIL.Image.fromarray(greys), pydicom.dcmread(path)]
masks = {hashlib.sha256(segment(image).encode()).hexdigest()[:12] for image in kinds}
assert masks == {hashlib.sha256(first.encode()).hexdigest()[:12]}, masks
print(len(kinds), "kinds of input, mask", *masks, repr(first))
"""


def main() -> None:
    """Build and try; print one line a step. Exit with 1 where a step fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="where wheel and sdist go (dist)")
    folder: Path = parser.parse_args().output
    for old in (*folder.glob("lungseg-*.whl"), *folder.glob("lungseg-*.tar.gz")):
        old.unlink()
    run_python("-m", "build", "--outdir", folder, ROOT)
    (wheel,), (sdist,) = folder.glob("lungseg-*.whl"), folder.glob("lungseg-*.tar.gz")
    run_python("-m", "twine", "check", "--strict", wheel, sdist)
    run_python("-m", "check_wheel_contents", wheel)
    size = wheel.stat().st_size
    print(f"{wheel.name}: {size / 1e6:.1f} MB; {sdist.name}: {sdist.stat().st_size / 1e6:.1f} MB")
    if size > MAX_WHEEL_BYTES:
        sys.exit(f"error: the wheel is larger than {MAX_WHEEL_BYTES / 1e6:.0f} MB")
    for resolution in ("highest", "lowest-direct"):
        try_wheel(wheel, resolution)


def try_wheel(wheel: Path, resolution: str) -> None:
    """Install a wheel into an empty environment, and segment an image by its command and by its Python API.

    Args:
        wheel: what `python -m build` wrote.
        resolution: uv's: "highest" or "lowest-direct" versions of its dependencies.
    """
    with tempfile.TemporaryDirectory() as temporary:
        away = Path(temporary) / "away"
        away.mkdir()
        (away / "RG1.dcm").write_bytes(Path(str(get_testdata_file("RG1_UNCR.dcm", download=False))).read_bytes())
        environment = Path(temporary) / "venv"
        venv.create(environment)
        scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
        pins = Path(temporary) / "pins.txt"
        uv = (sys.executable, "-m", "uv", "--quiet", "pip")
        run(*uv, "compile", "--resolution", resolution, "--output-file", pins, ROOT / "pyproject.toml")
        began = time.monotonic()
        run(*uv, "install", "--python", scripts / "python", "-r", pins)
        run(*uv, "install", "--python", scripts / "python", "--no-deps", wheel)
        installed = time.monotonic() - began
        megabytes = sum(file.stat().st_size for file in environment.rglob("*") if file.is_file()) / 1e6
        began = time.monotonic()
        run(scripts / "lungseg", "segment", "RG1.dcm", folder=away)
        took = time.monotonic() - began
        if not (environment / "share" / "man" / "man1" / "lungseg.1").is_file():
            sys.exit("error: the wheel installs no manual page")
        digest = hashlib.sha256((away / "RG1.dcm.mask.png").read_bytes()).hexdigest()
        said = run(scripts / "python", "-c", SEGMENT_BY_API, folder=away).strip()
        print(
            f"{resolution} versions: {megabytes:.0f} MB, installed in {installed:.0f} s; "
            f"RG1 in {took:.1f} s, mask {digest[:12]}; Python API: {said}"
        )


def run_python(*command: str | Path) -> str:
    """Run a module or program of this Python; see `run`."""
    return run(sys.executable, *command)


def run(*command: str | Path, folder: Path = ROOT) -> str:
    """Run a program and return what it printed; where it fails, print that and exit with 1."""
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}error: {' '.join(map(str, command[:4]))} failed")
    return done.stdout


if __name__ == "__main__":
    main()
