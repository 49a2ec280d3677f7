"""The package's dependencies agree with the versions that the service and the tests pin."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lungseg.terminal import EXTRAS, install_command

ROOT = Path(__file__).resolve().parents[1]


def _pins(*files: str) -> dict[str, str]:
    """Return the version of each package that requirements files pin."""
    lines = (
        line
        for name in files
        for line in (ROOT / name).read_text().splitlines()
        if line and not line.startswith(("#", "-r"))
    )
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def _imported(package: str) -> set[str]:
    """Return the distributions that a package's modules import, also within functions."""
    names: set[str] = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    foreign = names - sys.stdlib_module_names - {"lungseg", "model_export"}
    return {canonicalize_name(packages_distributions()[name][0]) for name in foreign}


def test_package_dependencies_allow_the_pinned_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [Requirement(line) for line in [*project["dependencies"], *(line for extra in extras for line in extra)]]
    pins = _pins("requirements.txt", "lungseg/requirements.txt", "model_export/requirements.txt")
    assert {each.name for each in wanted if not each.specifier.contains(pins[canonicalize_name(each.name)])} == set()


def test_train_extra_is_what_training_adds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = [Requirement(line) for line in project["optional-dependencies"]["train"]]
    assert {canonicalize_name(each.name): str(each.specifier) for each in extra} == {
        name: f"=={version}" for name, version in _pins("model_export/requirements.txt").items()
    }


def test_training_imports_only_the_base_and_its_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    assert _imported("model_export") - {canonicalize_name(Requirement(line).name) for line in lines} == set()


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
