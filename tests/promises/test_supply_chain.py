"""Everything that the container image installs is locked, listed with its licence, and used."""

from __future__ import annotations

import ast
import copy
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from ledger import Ledger
from packaging.requirements import Requirement
from sbom import GCC, LICENCES, ROOT, SBOM, canonical, licence, locked, models, page

LOCK = (ROOT / "requirements.lock").read_text()

FREE = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "FTL",
    "IJG",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MIT-Modern-Variant",
    "PSF-2.0",
    "Unlicense",
    "Zlib",
    "libpng-2.0",
    "libtiff",
}
"""Licences that require only that their text accompanies copies."""

EXCEPTED = {
    ("gomp", GCC): "GCC's runtime: its exception lets programs of any licence use it",
    ("gfortran", GCC): "GCC's runtime: its exception lets programs of any licence use it",
    ("quadmath", "LGPL-2.1-or-later"): "GCC's runtime, a shared library by itself: anyone may put another in its place",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Return docs/sbom.json."""
    found: dict[str, Any] = json.loads(SBOM.read_text())
    return found


def pinned(file: str) -> dict[str, str]:
    """Return the versions that a requirements file pins."""
    pairs = re.findall(r"(?m)^([\w.-]+)(?:\[\w+\])?==(\S+)$", (ROOT / file).read_text())
    return {canonical(name): version for name, version in pairs}


def unlocked(requirements: dict[str, str], lock: str) -> list[str]:
    """Return what a lock file lacks."""
    entries = locked(lock)
    found = [name for name, version in requirements.items() if entries.get(name, ("", []))[0] != version]
    found += [f"{name} without a digest" for name, (_, digests) in entries.items() if not digests]
    return found + re.findall(r"(?m)^-.*|\S*://\S*", lock)


def unfree(components: list[dict[str, Any]]) -> list[str]:
    """Return components without an allowed licence that are not excepted."""
    found = []
    for each in components:
        if each["type"] != "library":
            continue
        choices = licence(each).split(" OR ")
        if not any(set(choice.split(" AND ")) <= FREE or (each["name"], choice) in EXCEPTED for choice in choices):
            found.append(each["name"])
    return found


def imported(files: Iterator[Path]) -> set[str]:
    """Return the distributions that modules import, also within functions."""
    top = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                top |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                top.add(node.module.partition(".")[0])
    distributions = importlib.metadata.packages_distributions()
    return {
        canonical(distributions[name][0]) for name in top - sys.stdlib_module_names - {"app", "lungseg", "serverless"}
    }


def modules() -> Iterator[Path]:
    """Return the modules of both packages."""
    for package in ("app", "lungseg"):
        yield from (ROOT / package).rglob("*.py")


def of_the_image() -> Iterator[Path]:
    """Return the modules in the container image, as .dockerignore leaves them."""
    left_out = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("lungseg/")]
    yield ROOT / "serverless.py"
    for file in modules():
        name = file.relative_to(ROOT).as_posix()
        if not any(name == each or name.startswith(f"{each}/") for each in left_out):
            yield file


def dependencies(folder: Path, settings: Path) -> subprocess.CompletedProcess[str]:
    """Return the findings of deptry for the program in a folder."""
    command = [sys.executable, "-m", "deptry", ".", "--no-ansi", "--config", settings]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_image_installs_exactly_what_is_locked(ledger: Ledger, document: dict[str, Any]) -> None:
    entries = locked(LOCK)
    lacking = unlocked(pinned("requirements.txt"), LOCK)
    packages = {canonical(each["name"]): each["version"] for each in document["components"] if "purl" in each}
    needed = imported(of_the_image())
    everywhere = imported(modules())
    unused = dependencies(ROOT, ROOT / "tests" / "promises" / "deptry.toml")
    bad = unfree(document["components"])
    digests = sum(len(digests) for _, digests in entries.values())
    libraries = sum(each["type"] == "library" for each in document["components"])
    ledger.enter(
        10,
        "Every installed package is locked by digest, listed with its licence, and used",
        f"{len(entries)} packages by {digests:,} digests, {libraries} libraries, {len(models())} networks",
        f"{len(lacking)} not locked, {len(bad)} with a licence that is not allowed, {len(EXCEPTED)} excepted by name",
    )
    assert not lacking
    assert packages == {name: version for name, (version, _) in entries.items()}, "run: make sbom"
    assert needed <= set(entries)
    assert everywhere <= set(entries) | set(pinned("lungseg/requirements.txt"))
    assert unused.returncode == 0, unused.stderr
    assert not bad


def test_dockerfile_installs_only_from_the_lock() -> None:
    dockerfile = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    (install,) = re.findall(r"pip install.*?&&", dockerfile)
    assert {"--require-hashes", "--only-binary=:all:"} <= set(install.split())
    assert re.findall(r"-r (\S+)", install) == ["/tmp/requirements.lock"]
    assert "COPY requirements.lock /tmp/requirements.lock" in dockerfile
    assert "!requirements.lock" in (ROOT / ".dockerignore").read_text().splitlines()


def test_workstation_image_installs_the_same_versions_from_its_lock() -> None:
    lock = (ROOT / "workstation.lock").read_text()
    entries, service = locked(lock), locked(LOCK)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for name in ("serve", "dicom-net") for line in project["optional-dependencies"][name]]
    wanted = {canonical(Requirement(line).name) for line in (*project["dependencies"], *extras)}
    assert wanted - entries.keys() == set(), "run: make lock"
    shared = entries.keys() & service.keys()
    assert {name for name in shared if entries[name][0] != service[name][0]} == set(), "run: make lock"
    assert unlocked({}, lock) == []
    dockerfile = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile.workstation").read_text())
    (install,) = re.findall(r"pip install.*?&&", dockerfile)
    assert {"--require-hashes", "--only-binary=:all:", "/tmp/workstation.lock"} <= set(install.split())


def test_bill_of_materials_is_valid_and_current(document: dict[str, Any]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
    assert [each for each in document["components"] if each["type"] == "machine-learning-model"] == models()
    assert LICENCES.read_text() == page(document), "run: make sbom"


def test_each_rule_can_fail(document: dict[str, Any]) -> None:
    requirements, entries = pinned("requirements.txt"), locked(LOCK)
    version, digests = entries["numpy"]
    assert unlocked(requirements | {"numpy": "0"}, LOCK) == ["numpy"]
    assert unlocked(requirements | {"torch": "2"}, LOCK) == ["torch"]
    assert unlocked(requirements, LOCK.replace(f"numpy=={version}", "numpy==0")) == ["numpy"]
    assert unlocked(requirements, LOCK + "bare==1 \\\n    # via nothing\n") == ["bare without a digest"]
    assert unlocked(requirements, f"--index-url https://example.org\n{LOCK}") == ["--index-url https://example.org"]
    assert len(digests) > 10  # for both Pythons, on every platform
    for name, expression in (("x", "GPL-3.0-only"), ("x", GCC), ("x", "MIT AND AGPL-3.0-only"), ("x", "proprietary")):
        other = {"type": "library", "name": name, "licenses": [{"expression": expression}]}
        assert unfree([*document["components"], other]) == [name]
    assert not unfree([{"type": "library", "name": "x", "licenses": [{"expression": "GPL-2.0-only OR MIT"}]}])
    broken = copy.deepcopy(document)
    broken["components"][0]["type"] = "thing"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(broken)) is not None
