"""Measurements as Markdown tables, for the terminal and for docs/PERFORMANCE.md."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]


def image(result: Result) -> str:
    """Return the tables of entry points, stages and the original pipeline."""
    return "\n\n".join(filter(None, (_machine(result), _entry_points(result), _stages(result), _original(result))))


def _entry_points(result: Result) -> str:
    rows = []
    for name, each in result["images"].items():
        milliseconds, bound = each["milliseconds"], each["lower_bound"]
        parts = " + ".join(f"{bound[part]['milliseconds']:.1f}" for part in ("decode", "network", "write"))
        handler, overhead = "over 6 MB", ""
        if "handler" in milliseconds:
            handler = f"{milliseconds['handler']:.1f} ({each['to_lower_bound']['handler']:.2f})"
            overhead = f"{each['handler_overhead']:.1f}, of which {milliseconds['base64']:.1f}"
        rows.append(
            [
                name,
                f"{each['bytes'] / 1e6:.1f} MB",
                f"{bound['milliseconds']:.1f} = {parts}",
                bound["decode"]["by"].partition(": ")[2],
                f"{milliseconds['pipeline']:.1f} (**{each['to_lower_bound']['pipeline']:.2f}**)",
                f"{milliseconds['app']:.1f} ({each['to_lower_bound']['app']:.2f})",
                handler,
                overhead,
            ]
        )
    head = [
        *("image", "file", "lower bound = decode + network + PNG", "its decoder", "`pipeline.segment`, PNG"),
        *("FastAPI app", "`serverless.handler`", "handler overhead, of which base64"),
    ]
    writers = {each["lower_bound"]["write"]["by"].partition(": ")[2] for each in result["images"].values()}
    note = (
        f"Medians of {result['rounds']} rounds in milliseconds, and ratios to the lower bound, whose PNG is encoded by "
        f"{' or '.join(writers)}."
    )
    return f"{table(head, rows)}\n\n{note}"


def _stages(result: Result) -> str:
    images = result["images"]
    stages = list(next(iter(images.values()))["stages"])
    rows = [[name, *(f"{each['stages'][stage]:.1f}" for stage in stages)] for name, each in images.items()]
    return table(["milliseconds", *stages], rows)


def _original(result: Result) -> str:
    found, threads = result["original"], result.get("network_by_threads")
    parts = []
    if found:
        rows = [[name, f"{took:.1f}", f"{found['ratio'][name]:.1f}"] for name, took in found["milliseconds"].items()]
        parts += [table([f"{found['image']}, {found['rounds']} rounds", "milliseconds", "ratio to this service"], rows)]
        parts += [found["peers"]]
    if threads:
        parts += [f"The network takes {threads['1']:.1f} ms on one thread and {threads['2']:.1f} on two."]
    return "\n\n".join(parts)


def cold(result: Result) -> str:
    """Return the tables of cold starts, peak memory and imports."""
    took, imports = result["milliseconds"], result["imports"]
    start = table(
        [f"{result['image']}, median of {result['starts']} starts", "milliseconds"],
        [
            [
                "from sending the event to receiving the mask",
                f"**{took['first mask']:.0f}** (slowest {result['slowest']:.0f})",
            ],
            ["of which INIT, as reported by the runtime", f"{took['INIT']:.0f}"],
            ["a later image in the same process", f"{took['an image later']:.0f}"],
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
    note = "The time of `serverless` itself is the creation of both networks' sessions and, with INT8, its self-check."
    return "\n\n".join((_machine(result), start, memory, by_package, slowest, note))


def workers(result: Result) -> str:
    """Return the table of throughput with one worker and with two."""
    bound = 1000 / result["network"]
    one = result["images_per_second"]["1"]
    rows = [
        [
            count,
            f"{rate:.1f}",
            f"{rate / one:.2f}",
            f"{rate / int(count):.1f}",
            f"{rate / int(count) / bound:.2f}",
        ]
        for count, rate in result["images_per_second"].items()
    ]
    head = ["workers", "images/s", "ratio to one worker", "images/s per core", "fraction of 1 / network"]
    note = (
        f"{result['images']} JPEGs of 1 Mpx. The network alone takes {result['network']:.1f} ms, "
        f"which corresponds to {bound:.1f} images/s per core."
    )
    return "\n\n".join((_machine(result), table(head, rows), note))


def serve(result: Result) -> str:
    """Return the table of the server under load."""
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
                f"{each['images_per_second']:.1f}",
                f"{each['seconds_median']:.2f}, {each['seconds_95']:.2f}",
                f"{each['mebibytes_before']:.0f}, {each['mebibytes_at_most']:.0f}",
            ]
        )
    head = [
        *("", "masks", "wrong masks", "503 `overloaded`", "other responses", "images/s"),
        *("seconds per mask: median, 95 %", "peak MiB: before, after"),
    ]
    images = ", ".join(result["images"])
    note = f"{result['concurrent']} images at a time, {result['waiting']} more in the queue; {images}, at random."
    return "\n\n".join((_machine(result), table(head, rows), note))


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _machine(result: Result) -> str:
    it = result["machine"]
    versions = ", ".join(f"{name} {it[name]}" for name in ("numpy", "pillow", "imagecodecs", "onnxruntime", "fastapi"))
    busy = f"{it['cores']} cores, load {it['load']} during the measurement"
    return f"{it['processor']}, {it['instructions']}, {busy}; Python {it['python']}, {versions}."
