"""Resolve template.yaml as CloudFormation does for given parameters: conditions and intrinsic functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Region": "eu-west-1",
    "AWS::Partition": "aws",
    "AWS::StackName": "lungs",
    "AWS::URLSuffix": "amazonaws.com",
}

KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
POOL = "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/eu-west-1_abcdefghi"

WAYS: list[dict[str, object]] = [
    {},
    {"Auth": "iam", "KmsKeyArn": KEY, "FilmPrefix": "in/", "FilmDays": 30, "MaskDays": 30, "Tracing": "Active"},
    {"Auth": "jwt", "UserPoolArn": POOL, "UploadOrigin": "https://example.org", "AlarmEmail": "a@example.org"},
    {"ModelBucket": "models", "ModelKey": "a/b.onnx", "ModelSha256": "0" * 64, "InventoryBucket": "inventories"},
    {"ApiConcurrency": 5, "BatchConcurrency": 20, "BatchTimeout": 900, "ApiLogRole": "exists"},
]
"""Parameters of deployments that together take every condition both ways."""

NOTHING = object()
"""AWS::NoValue: a property with this value is removed."""


def deployed(names: dict[str, str] | None = None, **parameters: object) -> dict[str, Any]:
    """Return the template with conditions and functions resolved.

    Args:
        names: values of references ("InputBucket") and attributes ("BatchFunction.Arn"). Without a value, a reference
            is the logical name, and an attribute "<Name.Attribute>".
        parameters: values other than the defaults.
    """
    raw = load()
    work = _work(names or {}, parameters)
    found: dict[str, Any] = work.out({name: raw[name] for name in ("Globals", "Rules")})
    for part in ("Resources", "Outputs"):
        here = {name: each for name, each in raw[part].items() if work.holds(each.get("Condition"))}
        found[part] = {name: work.out(each) for name, each in here.items()}
    return found


def decided(**parameters: object) -> dict[str, bool]:
    """Return the template's conditions."""
    work = _work({}, parameters)
    return {name: work.holds(name) for name in load()["Conditions"]}


@cache
def load() -> dict[str, Any]:
    """Return the template with short tags expanded (!Ref x is {"Ref": x})."""
    whole: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)
    return whole


def of(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a type."""
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def statements(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the policy statements of all roles."""
    for role in of(template, "AWS::IAM::Role").values():
        for policy in role.get("Policies", []):
            yield from policy["PolicyDocument"]["Statement"]


def listed(value: Any) -> list[Any]:
    """Return a value as a list."""
    return value if isinstance(value, list) else [value]


def _work(names: dict[str, str], parameters: dict[str, object]) -> _Work:
    raw = load()
    values = {name: each["Default"] for name, each in raw["Parameters"].items()} | parameters
    assert set(values) == set(raw["Parameters"]), set(values) - set(raw["Parameters"])
    return _Work(raw, {name: str(value) for name, value in values.items()} | PSEUDO, names)


class _Loader(yaml.SafeLoader):
    """Loads YAML with CloudFormation's tags."""


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        value = value.split(".", 1) if suffix == "GetAtt" else value
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _tagged)


class _Work:
    """Resolves intrinsic functions."""

    def __init__(self, raw: dict[str, Any], values: dict[str, str], names: dict[str, str]) -> None:
        self._raw, self._values, self._names = raw, values, names

    def holds(self, condition: str | None) -> bool:
        """Return whether a condition is true; no condition is true."""
        return condition is None or self.out(self._raw["Conditions"][condition]) is True

    def out(self, node: Any) -> Any:
        """Return a node with functions resolved."""
        if isinstance(node, list):
            return [found for each in node if (found := self.out(each)) is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, value),) = node.items()
            if name == "Ref" or name.startswith("Fn::"):
                return getattr(self, f"_{name.removeprefix('Fn::').lower()}")(value)
        return {name: found for name, each in node.items() if (found := self.out(each)) is not NOTHING}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        if name in self._values:
            return self._values[name]
        # Api.Stage is SAM's name of the API's stage.
        assert name.partition(".")[0] in self._raw["Resources"], name
        return self._names.get(name, name)

    def _getatt(self, parts: list[str]) -> str:
        name = ".".join(parts)
        assert parts[0] in self._raw["Resources"], name
        return self._names.get(name, f"<{name}>")

    def _sub(self, value: Any) -> str:
        text, extra = value if isinstance(value, list) else (value, {})
        extra = {name: self.out(each) for name, each in extra.items()}

        def one(match: re.Match[str]) -> str:
            name = match[1]
            if name in extra:
                return str(extra[name])
            return str(self._getatt(name.split(".")) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^}!]+)\}", one, text)

    def _if(self, value: list[Any]) -> Any:
        return self.out(value[1] if self.holds(value[0]) else value[2])

    def _equals(self, value: list[Any]) -> bool:
        return str(self.out(value[0])) == str(self.out(value[1]))

    def _not(self, value: list[Any]) -> bool:
        return not self.out(value[0])

    def _findinmap(self, value: list[Any]) -> Any:
        table, first, second = (self.out(each) for each in value)
        return self._raw["Mappings"][table][str(first)][second]
