"""The policy for template.yaml, for every way to deploy it; each rule is also run on a template that breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import policy_rules as rules
import pytest
from cloudformation import WAYS, decided, deployed, load
from ledger import Ledger
from policy_rules import OPEN_ROUTES, RULES, WHOLE_RESOURCES, Rule, Template


def test_policy_holds_for_every_deployment(ledger: Ledger) -> None:
    asked, broken = 0, []
    for way in WAYS:
        template = deployed(**way)
        for rule in RULES:
            answers = rule(template)
            assert answers, rule.__name__  # a rule that finds nothing to check proves nothing
            asked += len(answers)
            broken += [f"{rule.__name__}: {thing} ({way})" for thing, holds in answers.items() if not holds]
    exceptions = len(WHOLE_RESOURCES) + len(OPEN_ROUTES)
    ledger.enter(
        9,
        "The template follows policy on permissions, TLS, encryption, dead letters, alarms, logs, secrets and access",
        f"{len(RULES)} rules on {len(WAYS)} ways to deploy, {asked:,} answers; {len(BREAKS)} breaches made in memory",
        f"{len(broken)} breaches, {exceptions} exceptions with a reason",
    )
    assert not broken


def test_deployments_take_every_condition_both_ways() -> None:
    for name in load()["Conditions"]:
        assert {decided(**way)[name] for way in WAYS} == {True, False}, name


def put(*path: str | int, value: object) -> Callable[[Template], None]:
    """Return a breach: a property of a resource has another value, or is missing if that is None."""

    def breach(template: Template) -> None:
        name, *inner, last = path
        node = template["Resources"][name]["Properties"]
        for each in inner:
            node = node[each]
        if value is None:
            del node[last]
        else:
            node[last] = value

    return breach


def without(name: str) -> Callable[[Template], None]:
    """Return a breach: a resource is missing."""
    return lambda template: template["Resources"].pop(name)


def allowing(**changes: object) -> Callable[[Template], None]:
    """Return a breach: the first statement of the batch function is another one."""

    def breach(template: Template) -> None:
        template["Resources"]["BatchRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"][0] |= changes

    return breach


def variable(name: str, value: str) -> Callable[[Template], None]:
    """Return a breach: the functions get an environment variable."""
    return lambda template: template["Globals"]["Function"]["Environment"]["Variables"].update({name: value})


def route(path: str, security: list[dict[str, list[str]]]) -> Callable[[Template], None]:
    """Return a breach: one more route."""
    add = {path: {"get": {"security": security}}}
    return lambda template: template["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"].update(add)


POLICY = ("PolicyDocument", "Statement", 0)
BREAKS: list[tuple[Rule, str, Callable[[Template], None]]] = [
    (rules.no_wildcard_action, "Log s3:*", allowing(Action="s3:*")),
    (rules.no_wildcard_resource, "Log arn:aws:s3:::*", allowing(Resource=["<BatchLogs.Arn>", "arn:aws:s3:::*"])),
    (
        rules.only_managed_policies_of_the_gateway,
        "ApiRole",
        put("ApiRole", "ManagedPolicyArns", value=["arn:aws:iam::aws:policy/x"]),
    ),
    (
        rules.roles_are_for_one_service,
        "BatchRole",
        put("BatchRole", "AssumeRolePolicyDocument", "Statement", 0, "Principal", value={"AWS": "*"}),
    ),
    (rules.tls_only, "OutputBucket", put("OutputBucketPolicy", *POLICY, "Resource", value=["<OutputBucket.Arn>"])),
    (rules.tls_only, "DeadLetterQueue", put("DeadLetterQueuePolicy", "Queues", value=["FilmQueue"])),
    (
        rules.tls_of_1_2,
        "InputBucket",
        put("InputBucketPolicy", "PolicyDocument", "Statement", 1, "Condition", value={}),
    ),
    (
        rules.public_access_blocked,
        "InputBucket",
        put("InputBucket", "PublicAccessBlockConfiguration", "BlockPublicPolicy", value=False),
    ),
    (
        rules.nobody_is_let_in_by_a_policy,
        "FilmQueue BucketTellsOfFilms",
        put("FilmQueuePolicy", *POLICY, "Condition", value=None),
    ),
    (rules.encrypted, "FilmQueue", put("FilmQueue", "SqsManagedSseEnabled", value=False)),
    (rules.encrypted, "InputBucket", put("InputBucket", "BucketEncryption", value=None)),
    (rules.dead_letters_are_kept, "FilmQueue", put("DeadLetterQueue", "MessageRetentionPeriod", value=345_600)),
    (rules.dead_letters_are_kept, "FilmQueue", without("DeadLetterAlarm")),
    (rules.alarms_for_each_function, "BatchFunction Duration", without("BatchSlowAlarm")),
    (rules.logs_end, "ApiLogs", put("ApiLogs", "RetentionInDays", value=None)),
    (rules.no_secret_in_the_environment, "Globals LUNG_API_TOKEN", variable("LUNG_API_TOKEN", "x")),
    (rules.no_secret_in_the_environment, "Globals LUNG_X", variable("LUNG_X", "AKIA" + "A" * 16)),
    (rules.every_route_wants_authority, "get /free", route("/free", [])),
    (rules.every_route_wants_authority, "get /health", route("/health", [{"api-key": []}])),
]
"""At least one for each rule, but no_secret_among_the_parameters, whose parameters are not in a deployed template."""


@pytest.fixture(scope="module")
def template() -> Template:
    return deployed()


@pytest.mark.parametrize(
    ("rule", "thing", "breach"), BREAKS, ids=[f"{rule.__name__}-{number}" for number, (rule, _, _) in enumerate(BREAKS)]
)
def test_breach_is_detected(template: Template, rule: Rule, thing: str, breach: Callable[[Template], None]) -> None:
    broken = copy.deepcopy(template)
    breach(broken)
    assert rule(template).get(thing, True)
    assert rule(broken)[thing] is False


def test_every_rule_has_a_breach() -> None:
    assert {rule for rule, _, _ in BREAKS} == set(RULES) - {rules.no_secret_among_the_parameters}


def test_secret_among_the_parameters_is_detected(template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(load()["Parameters"], "Password", {"Type": "String", "NoEcho": True})
    assert rules.no_secret_among_the_parameters(template)["Password"] is False
