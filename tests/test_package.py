"""The package's dependencies agree with the versions that the service and the tests pin."""

from __future__ import annotations

import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lungseg.terminal import EXTRAS, install_command

ROOT = Path(__file__).resolve().parents[1]


def _pins() -> dict[str, str]:
    """Return the version of each package that requirements.txt and lungseg/requirements.txt pin."""
    lines = (
        line
        for name in ("requirements.txt", "lungseg/requirements.txt")
        for line in (ROOT / name).read_text().splitlines()
        if line and not line.startswith(("#", "-r"))
    )
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def test_package_dependencies_allow_the_pinned_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [Requirement(line) for line in [*project["dependencies"], *(line for extra in extras for line in extra)]]
    pins = _pins()
    assert {each.name for each in wanted if not each.specifier.contains(pins[canonicalize_name(each.name)])} == set()


def test_base_install_has_no_web_and_no_aws() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {Requirement(line).name for line in project["dependencies"]}
    assert not names & {"fastapi", "starlette", "uvicorn", "mangum", "boto3", "httpx2"}


def test_install_hints_name_the_extra_of_each_module() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = {extra: {canonicalize_name(Requirement(line).name) for line in lines} for extra, lines in extras.items()}
    hinted: dict[str, set[str]] = {}
    for module, extra in EXTRAS.items():
        if module != "botocore":  # comes with boto3
            hinted.setdefault(extra, set()).update(map(canonicalize_name, packages_distributions()[module]))
    assert hinted == {extra: packages[extra] for extra in hinted}
    assert install_command("boto3") == 'pip install "lungseg[remote]"'
    assert install_command("numpy") == "pip install --force-reinstall lungseg"
