"""Hooks of MkDocs: write the pages that are generated from code, and adapt the repository's pages to the website.

https://www.mkdocs.org/user-guide/configuration/#hooks
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]

ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages at the root of the repository, and where they are on the website."""

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")

BLOCK = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(^ *```.*?^ *```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)

EXTERNAL = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(?:https?:)?//|<link[^>]*\shref=\"?(?:https?:)?//")

MATH_PAGES = {"LIFECYCLE.md"}
"""Pages whose dollar signs enclose formulas; elsewhere they are prices."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, the API's description and Mermaid."""
    generators: dict[str, Callable[[], str]] = {
        "cli.md": command_reference,
        "http.md": http_reference,
        "python.md": python_reference,
        "openapi.json": lambda: json.dumps(api_description(), indent=2),
    }
    for name, generate in generators.items():
        files.append(File.generated(config, name, content=generate()))
    for source, name in ROOT_PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text()))
    # Material loads Mermaid from a CDN unless the page defines it first.
    script = Path(os.environ["MERMAID"])
    files.append(File.generated(config, "javascripts/mermaid.min.js", abs_src_path=str(script.resolve())))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the website's pages, and turn formulas into MathML, which browsers show without a script."""
    at_root = {new: old for old, new in ROOT_PAGES.items()}
    source = at_root.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    parts = BLOCK.split(markdown)
    parts[::2] = [LINK.sub(lambda match: move_link(match, source), part) for part in parts[::2]]
    parts = CODE.split("".join(parts))
    if page.file.src_uri in MATH_PAGES:
        parts[::2] = [re.sub(r"\$([^$\n]+)\$", lambda match: convert(match[1]), part) for part in parts[::2]]
        parts[1::2] = [re.sub(r"^```math\n(.*)```$", block_formula, part, flags=re.DOTALL) for part in parts[1::2]]
    text = "".join(parts)
    return text.replace('src="docs/', 'src="') if source == "README.md" else text


def on_post_build(config: MkDocsConfig) -> None:
    """Fail if a page loads anything from another host, which would learn who reads it."""
    for page in Path(config.site_dir).rglob("*.html"):
        if found := EXTERNAL.search(page.read_text()):
            raise PluginError(f"{page.name} loads from another host: {found[0]}")


def block_formula(match: re.Match[str]) -> str:
    """Return a formula in a line of its own."""
    return convert(match[1].strip().replace("\n", " "), display="block")


def move_link(match: re.Match[str], source: str) -> str:
    """Return a link as the website needs it: plain text if the file is not on the website."""
    target, anchor = match["target"], match["anchor"] or ""
    if not target or re.match(r"[a-z][a-z+.-]*:", target):
        return match[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path in ROOT_PAGES:
        path = ROOT_PAGES[path]
    elif path.startswith("docs/"):
        path = path.removeprefix("docs/")
    else:
        return match["text"] if posixpath.basename(path) in match["text"] else f"{match['text']} (`{path}`)"
    here = posixpath.dirname(source.removeprefix("docs/")) if source.startswith("docs/") else ""
    return f"{match['image']}[{match['text']}]({posixpath.relpath(path, here or '.')}{anchor})"


def command_reference() -> str:
    """Return a page with the help text of every command."""
    os.environ.update({"COLUMNS": "80", "NO_COLOR": "1"})
    from lungseg.cli.common import walk_parsers
    from lungseg.cli.main import build_parser

    lines = ["# Command line", "", "The help texts of all commands, as `--help` prints them.", ""]
    for parser in walk_parsers(build_parser()):
        lines += [f"## {parser.prog}", "", "```text", parser.format_help().rstrip(), "```", ""]
    return "\n".join(lines)


def python_reference() -> str:
    """Return a page that mkdocstrings fills with the public names and their docstrings."""
    import lungseg

    names = [name for name in lungseg.__all__ if not name.startswith("__") and not name.endswith("Error")]
    intro = """\
# Python API

The names below are public; every other name may change. `from lungseg import segment` is all that most programs need:
[getting started](GETTING_STARTED.md#python) has examples.
"""
    names.sort(key=lambda name: name[0].isupper())
    members = "\n".join(f"\n::: lungseg.{name}\n    options:\n      heading_level: 2" for name in names)
    problems = (
        "\n\n## Errors\n\n::: lungseg.errors\n    options:\n      heading_level: 3\n      show_root_heading: false\n"
    )
    return intro + members + problems


def api_description() -> dict[str, Any]:
    """Return the OpenAPI description of the HTTP API on AWS: that of `lungseg serve`, and jobs."""
    from app.main import app

    return app.openapi()


def http_reference() -> str:
    """Return a page with every operation of the HTTP API, its parameters, request bodies and responses."""
    description = api_description()
    schemas = description["components"]["schemas"]
    lines = [
        "# HTTP API",
        "",
        "Generated from the [OpenAPI description](openapi.json). A server has it at `/openapi.json`, and a page to",
        "try it at `/docs`. [Getting started](GETTING_STARTED.md#http) has clients in Python, JavaScript and curl;",
        "[ERRORS.md](ERRORS.md) explains the codes. `/v1/jobs` needs buckets on AWS: `lungseg serve` does not have it.",
        "",
    ]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            lines += [f"## {method.upper()} {path}", "", operation.get("summary", "") + ".", ""]
            lines += [operation.get("description", ""), ""]
            lines += parameter_table(operation.get("parameters", []))
            if body := operation.get("requestBody"):
                lines += ["**Request body**: " + ", ".join(f"`{kind}`" for kind in body["content"]) + ".", ""]
            lines += response_tables(operation["responses"])
    lines += ["## Schemas", ""]
    for name, schema in schemas.items():
        if values := schema.get("enum"):
            lines += [f"### {name}", "", f"One of {', '.join(f'`{value}`' for value in values)}.", ""]
        if schema.get("properties"):
            lines += [f"### {name}", "", schema.get("description", ""), ""]
            lines += ["| member | type | meaning |", "|---|---|---|"]
            for member, detail in schema["properties"].items():
                lines.append(f"| `{member}` | {type_name(detail)} | {cell(detail.get('description', ''))} |")
            lines.append("")
    return "\n".join(lines)


def parameter_table(parameters: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of parameters."""
    if not parameters:
        return []
    rows = [
        f"| `{each['name']}` | {each['in']} | {type_name(each['schema'])} | {cell(each.get('description', ''))} |"
        for each in parameters
    ]
    return ["| parameter | in | type | meaning |", "|---|---|---|---|", *rows, ""]


def response_tables(responses: dict[str, Any]) -> list[str]:
    """Return the lines of a table of statuses, and of one of response headers."""
    lines = ["| status | content | meaning |", "|---|---|---|"]
    headers: dict[str, str] = {}
    for status, response in responses.items():
        content = ", ".join(f"`{kind}`" for kind in response.get("content", {}))
        lines.append(f"| {status} | {content} | {cell(response['description'])} |")
        headers |= {name: header.get("description", "") for name, header in response.get("headers", {}).items()}
    lines.append("")
    if headers:
        rows = [f"| `{name}` | {cell(meaning)} |" for name, meaning in headers.items()]
        lines += ["| response header | meaning |", "|---|---|", *rows, ""]
    return lines


def type_name(schema: dict[str, Any]) -> str:
    """Return the type of a schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(type_name(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"array of {type_name(schema['items'])}" if schema.get("items") else "array"
    return str(schema.get("type", "any"))


def cell(text: str) -> str:
    """Return a text for one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
