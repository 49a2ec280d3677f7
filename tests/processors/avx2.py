"""Smoke test of the command line on an emulated x86 processor with AVX2 only: `make processors`.

AWS Lambda guarantees only AVX2 to x86_64 functions. The emulator is a program that runs another one. The environment
variable AVX2 names it; by default it is beside the checkout. 8-bit sums saturate in it as on such a processor.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "promises")]

EMULATOR = Path(os.environ.get("AVX2", ROOT.parent / "shared" / "lab" / "avx2"))

MIN_DICE = 0.9999
"""Dice between an emulated mask and one of this processor, both in FP32."""


class Failed(Exception):
    """A check failed; the text says which."""


def main() -> int:
    """Run every check; 0 if all passed or there is no emulator."""
    if not EMULATOR.is_file():
        print(f"skipped: no emulator of AVX2 ({EMULATOR.name}); name one in the variable AVX2")
        return 0
    started = time.monotonic()
    checks = (check_instructions, check_segment, check_doctor, check_int8_setting, check_float_sums)
    try:
        for check in checks:
            print(f"ok      {check()}", flush=True)
    except Failed as error:
        print(f"FAILED  {error}")
        return 1
    seconds = time.monotonic() - started
    print(f"AVX2 alone: all checks passed in {seconds:.0f} s")
    if "LUNG_LEDGER" in os.environ:
        from ledger import Entry

        tried, found = f"x86_64 with AVX2 alone: {len(checks)} checks of the command line", "all passed"
        entry = Entry(13, "Every processor gives the same masks, without warnings", tried, found, seconds=seconds)
        entry.write(Path(os.environ["LUNG_LEDGER"]), "avx2")
    return 0


def run_app(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the command line under the emulator."""
    line = [str(EMULATOR), sys.executable, "-m", "lungseg", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, env=os.environ | environment, check=False, timeout=600)


def expect(holds: bool, failure: str) -> None:
    """Raise Failed unless ``holds``."""
    if not holds:
        raise Failed(failure)


def check_instructions() -> str:
    """`info` names the emulated processor, and FP32 with its reason."""
    facts = json.loads(run_app("info", "--json").stdout)
    found = [facts["processor"], facts["model"]["precision"], facts["model"]["precision_reason"]]
    expect(found == ["x86_64 with avx2", "fp32", "no-dot-products"], f"info says {found}")
    return f"info: {', '.join(found)}"


def check_segment() -> str:
    """`segment` prints only its own lines, and gives the same mask as FP32 on this processor."""
    from films import dice, packaged

    image = packaged("RG1_UNCR.dcm")
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "mask.png"
        done = run_app("segment", image, "-o", output)
        starts = ["image: ", "verdict: ", "mask: "]
        lines = done.stderr.decode().splitlines()
        good = [line.startswith(start) for line, start in zip(lines, starts, strict=False)]
        expect(done.returncode == 0, f"segment ends with {done.returncode}: {lines}")
        expect(len(lines) == len(starts) and all(good) and not done.stdout, f"segment prints {lines}")
        mask = read_mask(output.read_bytes())
    here = subprocess.run(
        [sys.executable, "-m", "lungseg", "segment", image, "-o", "-"],
        cwd=ROOT,
        capture_output=True,
        env=os.environ | {"LUNG_PRECISION": "fp32"},
        check=True,
    )
    agreement = dice(mask, read_mask(here.stdout))
    expect(agreement >= MIN_DICE, f"the mask agrees with this processor's at Dice {agreement:.5f}")
    return f"segment: {len(lines)} lines, mask agrees with this processor's FP32 mask at Dice {agreement:.5f}"


def check_doctor() -> str:
    """`doctor` has no warning."""
    checks = json.loads(run_app("doctor", "--json").stdout)["checks"]
    bad = [check for check in checks if check["state"] != "ok"]
    expect(not bad, f"doctor finds {bad}")
    return f"doctor: {len(checks)} checks, no warning"


def check_int8_setting() -> str:
    """LUNG_PRECISION=int8 fails with one line on stderr that has cause and remedy."""
    done = run_app("info", LUNG_PRECISION="int8")
    lines = done.stderr.decode().splitlines()
    expect(done.returncode == 1 and len(lines) == 1 and "no 8-bit dot products" in lines[0], f"int8 prints {lines}")
    return f"LUNG_PRECISION=int8: {lines[0]}"


def check_float_sums() -> str:
    """8-bit kernels saturate here, and the self-check detects it; float sums give the stored answer."""
    program = (
        "from lungseg.model.lung import *;"
        "models = [LungNetwork(int8_path(LUNG_WEIGHTS), 1, float_sums=each) for each in (False, True)];"
        "print(*(model.passes_self_check() for model in models))"
    )
    line = [str(EMULATOR), sys.executable, "-c", program]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, check=True, text=True, timeout=600)
    expect(done.stdout.split() == ["False", "True"], f"self-checks of kernels and of float sums: {done.stdout}")
    return "INT8: the self-check fails with 8-bit sums and passes with float sums"


def read_mask(png: bytes) -> np.ndarray:
    """Return a mask PNG as a bool array."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("1"))


if __name__ == "__main__":
    raise SystemExit(main())
