"""Check template.yaml and Dockerfile with sam, cfn-lint, hadolint and checkov. No container engine is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from conftest import tool
from engine import ROOT, run

TEMPLATE, DOCKERFILE, WORKSTATION = (ROOT / name for name in ("template.yaml", "Dockerfile", "Dockerfile.workstation"))

LINUX = ["2_28", "2_27", "2_26", "2_24", "2_17", "2014", "2_12", "2010", "2_5", "1"]
"""Tags that glibc 2.28 supports, as in AWS's base image of Python 3.12; pip must be given each of them."""


def test_sam_accepts_the_template(tmp_path: Path) -> None:
    # In its own folder, because sam writes .aws-sam to the working folder.
    assert "is a valid SAM Template" in run(tool("sam"), "validate", "--lint", "-t", TEMPLATE, cwd=tmp_path).stdout


def test_cfn_lint_finds_nothing() -> None:
    assert run(tool("cfn-lint"), TEMPLATE).stdout == ""


def test_hadolint_finds_nothing() -> None:
    assert run(tool("hadolint"), DOCKERFILE, WORKSTATION).stdout == ""


def test_checkov_finds_nothing() -> None:
    # Without the flag, checkov downloads guidelines.
    run(tool("checkov"), "--skip-download", "--quiet", "--compact", "--file", TEMPLATE, DOCKERFILE, WORKSTATION)


def test_every_suppression_has_a_reason() -> None:
    template, dockerfile = TEMPLATE.read_text(), DOCKERFILE.read_text()
    skipped = re.findall(r"\{id: (CKV\w+)(, comment: \"(.{20,})\")?\}", template)
    assert len(skipped) == len(re.findall(r"\bCKV\w+", template)) > 10
    assert all(reason for _, _, reason in skipped)
    assert all(len(each.split(":", 2)[-1]) > 20 for each in re.findall(r"checkov:skip=(.*)", dockerfile))
    ignored = re.findall(r"hadolint ignore=(.*)", dockerfile)
    assert {each.split()[0] for each in ignored} == {"DL3006"}
    assert "--" in ignored[0]


def test_every_package_has_a_wheel_for_the_base_image(tmp_path: Path) -> None:
    platforms = [
        part for each in LINUX for part in ("--platform", f"manylinux{'_' if '_' in each else ''}{each}_x86_64")
    ]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version", "3.12"]
    done = subprocess.run(
        [*command, *platforms, "--require-hashes", "--dest", tmp_path, "--requirement", ROOT / "requirements.lock"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    wheels = [each.name for each in tmp_path.iterdir()]
    assert any(name.startswith("onnxruntime-") for name in wheels)
    assert not [name for name in wheels if not name.endswith(".whl")]
