"""What was measured as Markdown tables, for the terminal and for docs/PERFORMANCE.md alike."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]


def film(result: Result) -> str:
    """Every door beside the floor, the stages, and the author's way."""
    return "\n\n".join(filter(None, (_machine(result), _doors(result), _stages(result), _author(result))))


def _doors(result: Result) -> str:
    rows = []
    for name, each in result["films"].items():
        took, floor = each["milliseconds"], each["floor"]
        parts = " + ".join(f"{floor[part]['milliseconds']:.1f}" for part in ("decode", "network", "write"))
        handler, beyond = "over 6 MB", ""
        if "handler" in took:
            handler = f"{took['handler']:.1f} ({each['to_floor']['handler']:.2f})"
            beyond = f"{each['handler_beyond']:.1f}, of which {took['base64']:.1f}"
        rows.append(
            [
                name,
                f"{each['bytes'] / 1e6:.1f} MB",
                f"{floor['milliseconds']:.1f} = {parts}",
                floor["decode"]["by"].partition(": ")[2],
                f"{took['pipeline']:.1f} (**{each['to_floor']['pipeline']:.2f}**)",
                f"{took['app']:.1f} ({each['to_floor']['app']:.2f})",
                handler,
                beyond,
            ]
        )
    head = [
        *("film", "file", "floor = decode + network + PNG", "its decoder", "`pipeline.segment`, PNG"),
        *("FastAPI app", "`serverless.handler`", "handler beyond pipeline, of which base64"),
    ]
    writers = {each["floor"]["write"]["by"].partition(": ")[2] for each in result["films"].values()}
    note = (
        f"Medians of {result['rounds']} rounds, milliseconds, and times the floor; the floor's PNG is written by "
        f"{' or '.join(writers)}."
    )
    return f"{table(head, rows)}\n\n{note}"


def _stages(result: Result) -> str:
    films = result["films"]
    stages = list(next(iter(films.values()))["stages"])
    rows = [[name, *(f"{each['stages'][stage]:.1f}" for stage in stages)] for name, each in films.items()]
    return table(["milliseconds", *stages], rows)


def _author(result: Result) -> str:
    found, threads = result["author"], result.get("network_by_threads")
    told = []
    if found:
        rows = [
            [name, f"{took:.1f}", f"{found['times_ours'][name]:.1f}"] for name, took in found["milliseconds"].items()
        ]
        told += [table([f"{found['film']}, {found['rounds']} rounds", "milliseconds", "times ours"], rows)]
        told += [found["peers"]]
    if threads:
        told += [f"The network takes {threads['1']:.1f} ms on one thread and {threads['2']:.1f} on two."]
    return "\n\n".join(told)


def cold(result: Result) -> str:
    """A start's milliseconds, its imports, and peak memory."""
    took, imports = result["milliseconds"], result["imports"]
    start = table(
        [f"{result['film']}, median of {result['starts']} starts", "milliseconds"],
        [
            ["event sent to mask held", f"**{took['first mask']:.0f}** (slowest {result['slowest']:.0f})"],
            ["of which INIT, as the runtime reports it", f"{took['INIT']:.0f}"],
            ["an image later in the same process", f"{took['a film later']:.0f}"],
        ],
    )
    memory = table(
        ["peak memory of the function", "MiB"], [[name, f"{each:.0f}"] for name, each in result["memory"].items()]
    )
    packages = imports["packages"] | {"others": imports["other packages"]}
    total = f"imports: {imports['modules']} modules, {imports['milliseconds']:.0f} ms"
    by_package = table([total, "ms"], [[name, f"{own:.1f}"] for name, own in packages.items()])
    slowest = table(
        ["slowest modules", "ms"], [[name, f"{own:.1f}"] for name, own in imports["slowest modules"].items()]
    )
    note = "`serverless` itself is the two networks' sessions and, where INT8 serves, its self-check."
    return "\n\n".join((_machine(result), start, memory, by_package, slowest, note))


def workers(result: Result) -> str:
    """Images a second with one worker and with two."""
    bound = 1000 / result["network"]
    one = result["films_a_second"]["1"]
    rows = [
        [
            count,
            f"{rate:.1f}",
            f"{rate / one:.2f}",
            f"{rate / int(count):.1f}",
            f"{rate / int(count) / bound:.2f}",
        ]
        for count, rate in result["films_a_second"].items()
    ]
    head = ["workers", "images a second", "times one worker", "images a second and core", "part of 1 / network"]
    note = (
        f"{result['films']} JPEGs of 1 Mpx; the network alone takes {result['network']:.1f} ms, "
        f"which would be {bound:.1f} images a second and core."
    )
    return "\n\n".join((_machine(result), table(head, rows), note))


def serve(result: Result) -> str:
    """What clients of a full server saw."""
    rows = []
    for name, each in result["runs"].items():
        answers = dict(each["answers"])
        masks, refused = answers.pop("200", 0), answers.pop("503 overloaded", 0)
        rows.append(
            [
                name,
                f"{masks:,}",
                str(each["wrong"]),
                f"{refused:,}",
                ", ".join(f"{count} {kind}" for kind, count in answers.items()) or "none",
                f"{each['films_a_second']:.1f}",
                f"{each['seconds_median']:.2f}, {each['seconds_95']:.2f}",
                f"{each['mebibytes_before']:.0f}, {each['mebibytes_at_most']:.0f}",
            ]
        )
    head = [
        *("", "masks", "wrong ones", "503 `overloaded`", "other answers", "images a second"),
        *("seconds to a mask: median, 95 %", "peak MiB: before, after"),
    ]
    films = ", ".join(result["films"])
    note = f"{result['concurrent']} images at a time, {result['waiting']} more wait; {films}, at random."
    return "\n\n".join((_machine(result), table(head, rows), note))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns stand below each other."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _machine(result: Result) -> str:
    it = result["machine"]
    versions = ", ".join(f"{name} {it[name]}" for name in ("numpy", "pillow", "imagecodecs", "onnxruntime", "fastapi"))
    busy = f"{it['cores']} cores, load {it['load']} when it was measured"
    return f"{it['processor']}, {it['instructions']}, {busy}; Python {it['python']}, {versions}."
