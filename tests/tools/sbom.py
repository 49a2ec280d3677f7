"""Write the bill of materials: what the service installs and ships, and under which licences.

`make sbom` installs requirements.lock into its own environment, downloads the wheels for arm64, and calls this with
that environment's Python and the folder of wheels. It writes docs/sbom.json (CycloneDX 1.6) and docs/LICENCES.md.
Both architectures have the same packages and versions, as locked; the shared libraries in the wheels differ.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from lungseg import __version__

ROOT = Path(__file__).resolve().parents[2]
SBOM = ROOT / "docs" / "sbom.json"
LICENCES = ROOT / "docs" / "LICENCES.md"
MODELS = ROOT / "lungseg" / "model" / "weights"

Component = dict[str, Any]

CLASSIFIED = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
}
"""SPDX names for the metadata of older packages. Their BSD licence files have three clauses."""

STATED = {"protobuf": "BSD-3-Clause", "pycocotools": "BSD-2-Clause"}
"""Packages whose metadata states the licence in words: "3-Clause BSD License" and "FreeBSD"."""

EITHER = {"aws_lambda_powertools", "python-dateutil"}
"""Packages that offer a choice of licences; for all others, every licence applies."""

GCC = "GPL-3.0-or-later WITH GCC-exception-3.1"

LIBRARIES = {
    "Lerc": "Apache-2.0",
    "SPERR": "Apache-2.0",
    "SZ3c": "BSD-3-Clause",
    "Xau": "MIT",
    "aec": "BSD-2-Clause",
    "aom": "BSD-2-Clause",
    "avif": "BSD-2-Clause",
    "blosc": "BSD-3-Clause",
    "blosc2": "BSD-3-Clause",
    "brotlicommon": "MIT",
    "brotlidec": "MIT",
    "brotlienc": "MIT",
    "charls": "BSD-3-Clause",
    "cpcodec": "Apache-2.0",
    "deflate": "MIT",
    "freetype": "FTL",
    "gfortran": GCC,
    "gif": "MIT",
    "gomp": GCC,
    "harfbuzz": "MIT-Modern-Variant",
    "jpeg": "IJG AND BSD-3-Clause AND Zlib",
    "jpegxr": "BSD-2-Clause",
    "jxl": "BSD-3-Clause",
    "jxl_cms": "BSD-3-Clause",
    "jxl_threads": "BSD-3-Clause",
    "jxrglue": "BSD-2-Clause",
    "lcms2": "MIT",
    "lz4": "BSD-2-Clause",
    "lzfse": "BSD-3-Clause",
    "lzhamcomp": "Unlicense",
    "lzhamdecomp": "Unlicense",
    "lzhamdll": "Unlicense",
    "lzma": "0BSD",
    "lzokay": "MIT",
    "lzokay-c": "MIT",
    "meshoptimizer": "MIT",
    "openjp2": "BSD-2-Clause",
    "openjph": "BSD-2-Clause",
    "png16": "libpng-2.0",
    "quadmath": "LGPL-2.1-or-later",
    "scipy_openblas64_": "BSD-3-Clause",
    "sharpyuv": "BSD-3-Clause",
    "snappy": "BSD-3-Clause",
    "sz": "BSD-2-Clause",
    "tiff": "libtiff",
    "uhdr": "Apache-2.0",
    "webp": "BSD-3-Clause",
    "webpdemux": "BSD-3-Clause",
    "webpmux": "BSD-3-Clause",
    "xcb": "MIT",
    "zfp": "BSD-3-Clause",
    "zopfli": "Apache-2.0",
    "zstd": "BSD-3-Clause",
}
"""Shared libraries inside wheels, which no package metadata names."""

ARCHITECTURE = "lung-segmentation:architecture"
"""Property of a component that only one architecture has."""

HEAD = """\
# Licences

What the image is made of, beside its base image, on x86_64 and on arm64: the packages are the same, their shared
libraries differ a little. `make sbom` writes this page and [sbom.json](sbom.json) (CycloneDX 1.6) from what
`requirements.lock` names; `tests/promises/test_supply_chain.py` holds both to the lock file and
to a list of licences that may be there. The service's own code is Apache-2.0; its weights: see *Data and licences* in
the [README](../README.md).

The page's sample image, `lungseg/server/page/sample.jpg`, is RG1 of the NEMA WG-04 DICOM samples, scaled down to
829 x 880 pixels, from pydicom-data 1.0.0 (MIT, Copyright (c) 2020 Dicom in Python). See `sample.jpg.license`.
"""


def bill(python: Path, arm64: Path) -> dict[str, Any]:
    """Return the bill of materials as a CycloneDX document.

    Args:
        python: of an x86_64 environment with the locked packages.
        arm64: folder of the locked wheels for arm64.
    """
    found = json.loads(
        subprocess.run(
            [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--sv", "1.6", python],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    )
    packages = [_package(each) for each in found["components"]]
    whole = {
        "type": "application",
        "bom-ref": "lung-segmentation",
        "name": "lung-segmentation",
        "version": __version__,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    names = {each["name"] for each in packages}
    depends = [each for each in found["dependencies"] if each["ref"].partition("==")[0] in names]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": whole},
        "components": packages + libraries(libraries_installed(python), libraries_in_wheels(arm64)) + models(),
        "dependencies": [{"ref": "lung-segmentation", "dependsOn": _asked_for(packages)}, *depends],
    }


def libraries_installed(python: Path) -> set[tuple[str, str]]:
    """Return the shared libraries of an environment's wheels, as ("numpy.libs", "libgfortran-8f1e9814.so.5.0.0")."""
    files = python.parents[1].glob("lib/python*/site-packages/*.libs/*.so*")
    return {(file.parent.name, file.name) for file in files}


def libraries_in_wheels(folder: Path) -> set[tuple[str, str]]:
    """Return the shared libraries of the wheels in a folder."""
    names = (name for wheel in folder.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist())
    return {(match[1], match[2]) for name in names if (match := re.fullmatch(r"([^/]+\.libs)/([^/]+\.so[^/]*)", name))}


def libraries(x86: set[tuple[str, str]], arm64: set[tuple[str, str]]) -> list[Component]:
    """Return the libraries in wheels as components: NAME.libs/libpng16-1d1ba958.so.16.58.0 is png16 16.58.0 of NAME.

    A library that only one architecture has, or has in another version, names the architecture.
    """
    architectures: dict[tuple[str, str, str], set[str]] = {}
    for architecture, found in (("x86_64", x86), ("arm64", arm64)):
        for group, file in found:
            match = re.fullmatch(r"lib(.+?)((?:-[0-9a-f]{8})+)\.so(?:\.(.+))?", file)
            assert match is not None, file
            architectures.setdefault((group, match[1], match[3] or ""), set()).add(architecture)
    components = []
    for (group, name, version), where in sorted(architectures.items()):
        (alone,) = where if len(where) == 1 else ("",)
        component = {"type": "library", "bom-ref": "/".join(filter(None, (group, name, alone)))}
        component |= {"group": group, "name": name, **({"version": version} if version else {})}
        component["licenses"] = [{"expression": LIBRARIES[name]}]
        if alone:
            component["properties"] = [{"name": ARCHITECTURE, "value": alone}]
        components.append(component)
    return components


def models() -> list[Component]:
    """Return the networks as components, with their digests."""
    return [
        {
            "type": "machine-learning-model",
            "bom-ref": f"lungseg/model/weights/{file.name}",
            "name": file.name,
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}],
        }
        for file in sorted(MODELS.glob("*.onnx"))
    ]


def licence(component: Component) -> str:
    """Return a component's licences as one SPDX expression."""
    (each,) = component["licenses"]
    found: str = each["expression"] if "expression" in each else each["license"]["id"]
    return found


def page(document: dict[str, Any]) -> str:
    """Return docs/LICENCES.md."""
    packages, shared, networks = [], [], []
    needed: dict[str, list[str]] = {}
    for each in document["dependencies"]:
        for ref in each.get("dependsOn", []):
            needed.setdefault(ref, []).append(each["ref"].partition("==")[0])
    for each in document["components"]:
        if each["type"] == "machine-learning-model":
            networks.append(f"| {each['name']} | `{each['hashes'][0]['content']}` |")
        elif "group" in each:
            (where,) = each.get("properties", [{"value": "both"}])
            version = each.get("version", "")
            shared.append(f"| {each['group']} | {each['name']} | {version} | {where['value']} | {licence(each)} |")
        else:
            by = ["the service" if name == "lung-segmentation" else name for name in needed.get(each["bom-ref"], [])]
            packages.append(f"| {each['name']} | {each['version']} | {licence(each)} | {', '.join(by)} |")
    parts = [
        ("Packages", "| package | version | licence | needed by |\n|---|---|---|---|", packages),
        (
            "Shared libraries in their wheels",
            "| in | library | version | architecture | licence |\n|---|---|---|---|---|",
            shared,
        ),
        ("Networks", "| file | SHA-256 |\n|---|---|", networks),
    ]
    return HEAD + "".join(
        f"\n## {title}\n\n{head}\n" + "".join(f"{row}\n" for row in rows) for title, head, rows in parts
    )


def locked(text: str) -> dict[str, tuple[str, list[str]]]:
    """Return version and digests of each package in a lock file."""
    found = {}
    for entry in re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", text).strip()):
        if match := re.match(r"([\w.-]+)==(\S+)", entry):
            found[canonical(match[1])] = (match[2], re.findall(r"--hash=sha256:([0-9a-f]{64})\b", entry))
    return found


def canonical(name: str) -> str:
    """Return a package's normalized name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _package(found: Component) -> Component:
    """Return a package's component without URLs and descriptions."""
    names = []
    for each in found.get("licenses", []):
        name = each.get("expression") or each["license"].get("id") or each["license"]["name"]
        names.append(CLASSIFIED.get(name, name))
    names = names or [STATED[found["name"]]]
    joined = (" OR " if found["name"] in EITHER else " AND ").join(dict.fromkeys(names))
    kept = {name: found[name] for name in ("type", "bom-ref", "name", "version", "purl")}
    return kept | {"licenses": [{"expression": joined}]}


def _asked_for(packages: list[Component]) -> list[str]:
    """Return the packages that requirements.txt names."""
    asked = {canonical(each) for each in re.findall(r"(?m)^([\w.-]+)==", (ROOT / "requirements.txt").read_text())}
    return sorted(each["bom-ref"] for each in packages if canonical(each["name"]) in asked)


if __name__ == "__main__":
    written = bill(Path(sys.argv[1]), Path(sys.argv[2]))
    SBOM.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    LICENCES.write_text(page(written))
    print(f"{SBOM.relative_to(ROOT)}: {len(written['components'])} components; {LICENCES.relative_to(ROOT)}")
