"""Run the states of a backfill batch as Step Functions does: the part of the language that template.yaml uses.

tests/e2e/test_state_machine.py runs the same definition on moto.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cloudformation import deployed

CRASH = "Runtime.ExitError"

Call = Callable[[Any], Any]
"""A function: takes an event, returns its response, or None if the process was killed."""


class Failed(Exception):
    """The execution failed."""


def batch_states() -> dict[str, Any]:
    """Return the states that the map over a prefix runs for each batch."""
    machine = json.loads(deployed()["Resources"]["BackfillStateMachine"]["Properties"]["DefinitionString"])
    states: dict[str, Any] = machine["States"]["FilmsOfPrefix"]["ItemProcessor"]
    return states


def walk(machine: dict[str, Any], given: Any, call: Call, execution: str) -> Any:
    """Return the output of an execution.

    Raises:
        Failed.
    """
    name = machine["StartAt"]
    while True:
        state = machine["States"][name]
        match state["Type"]:
            case "Task":
                answer = _task(state, given, call)
                if answer is None:
                    (catch,) = [each for each in state.get("Catch", []) if CRASH in each["ErrorEquals"]] or [None]
                    if catch is None:
                        raise Failed(CRASH)
                    assert catch["ResultPath"] is None
                    name = catch["Next"]
                    continue
                given = {"Payload": answer}
            case "Map":
                assert state["ResultPath"] is None
                for item in given[state["ItemsPath"].removeprefix("$.")]:
                    walk(
                        state["ItemProcessor"],
                        _selected(state["ItemSelector"], given, item, execution),
                        call,
                        execution,
                    )
            case "Choice":
                (choice,) = state["Choices"]
                assert choice["Variable"] == "$.Items[0]"
                name = choice["Next"] if given["Items"] else state["Default"]
                continue
            case "Pass":
                pass
            case kind:
                raise AssertionError(kind)
        if "OutputPath" in state:
            given = given[state["OutputPath"].removeprefix("$.")]
        if state.get("End"):
            return given
        name = state["Next"]


def _task(state: dict[str, Any], given: Any, call: Call) -> Any:
    """Return the response of the last try; None if that was killed too."""
    retries = [each["MaxAttempts"] for each in state["Retry"] if CRASH in each["ErrorEquals"]]
    for _ in range(1 + sum(retries)):
        answer = call(given)
        if answer is not None:
            return answer
    return None


def _selected(selector: dict[str, str], given: Any, item: Any, execution: str) -> dict[str, Any]:
    values = {
        "$.BatchInput": given["BatchInput"],
        "States.Array($$.Map.Item.Value)": [item],
        "$$.Execution.Id": execution,
    }
    return {name.removesuffix(".$"): values[value] for name, value in selector.items()}
