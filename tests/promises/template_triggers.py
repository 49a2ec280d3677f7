"""What template.yaml lets notify the queue."""

from __future__ import annotations

from buckets import Buckets
from cloudformation import deployed


def triggers(buckets: Buckets, **parameters: object) -> list[tuple[str, str]]:
    """Return the buckets and key prefixes that notify the queue in template.yaml."""
    names = {"InputBucket": buckets.films, "OutputBucket": buckets.outputs}
    found = []
    for name, resource in deployed(names, **parameters)["Resources"].items():
        if resource["Type"] != "AWS::S3::Bucket" or "NotificationConfiguration" not in resource["Properties"]:
            continue
        for each in resource["Properties"]["NotificationConfiguration"]["QueueConfigurations"]:
            rules = each.get("Filter", {}).get("S3Key", {}).get("Rules", [{"Name": "prefix", "Value": ""}])
            found += [(names[name], rule["Value"]) for rule in rules]
    return found


def fires(triggers: list[tuple[str, str]], bucket: str, key: str) -> bool:
    """Return whether an object with this key triggers the function."""
    return any(bucket == place and key.startswith(prefix) for place, prefix in triggers)
