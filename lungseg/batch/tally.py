"""Counts of a run, of which memory holds no more however many images there are."""

from __future__ import annotations

from collections import Counter

from lungseg.batch.entry import Entry
from lungseg.pipeline.verdict import Decision


class Tally:
    """What became of the images so far.

    Attributes:
        segmented: images done in this run.
        before: images that an earlier run had done.
        failed: images that failed, in this run or before.
        worked: images done or tried in this run.
        verdicts: how many images by their decision.
        reasons: how many images by a reason's code; an image may have several.
        failures: how many images by the code of their failure.
        omitted: how many images by a format that cannot be made of them.
    """

    def __init__(self, formats: tuple[str, ...]) -> None:
        """Args: ``formats`` are those that were asked for."""
        self._formats = formats
        self.segmented = self.before = self.failed = self.worked = 0
        self.verdicts: Counter[str] = Counter({str(decision): 0 for decision in Decision})
        self.reasons: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.omitted: Counter[str] = Counter()

    @property
    def films(self) -> int:
        """All of them."""
        return self.segmented + self.before + self.failed

    @property
    def doubtful(self) -> int:
        """Images whose mask is not to be relied on without a look."""
        return self.films - self.failed - self.verdicts[Decision.ACCEPT]

    def count(self, entry: Entry, before: bool) -> None:
        """Add an image."""
        self.worked += not before
        if entry.row is None:
            self.failed += 1
            self.failures[(entry.problem or {})["code"]] += 1
            return
        self.segmented += not before
        self.before += before
        self.verdicts[entry.row["verdict"]] += 1
        self.reasons.update(entry.row["reasons"].split())
        self.omitted.update(name for name in entry.omitted if name in self._formats)

    def lines(self) -> list[str]:
        """The counts for a person."""
        named = {
            "verdicts": self.verdicts,
            "reasons": self.reasons,
            "failures": self.failures,
            "formats that could not be made": self.omitted,
        }
        return [f"{name}: {_listed(counts)}" for name, counts in named.items() if counts]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
