"""Count the outcomes of a run. Memory use does not grow with the number of images."""

from __future__ import annotations

from collections import Counter

from lungseg.batch.entry import Entry, Failure
from lungseg.pipeline.reasons import Decision


class Tally:
    """The outcomes so far.

    Attributes:
        segmented: images that this run segmented.
        done_before: images that an earlier run segmented.
        failed: images that failed, in this run or before.
        processed: images that this run segmented or tried to.
        verdicts: number of images for each decision.
        reasons: number of images for each reason; an image may have several.
        failures: number of images for each error code.
        omitted: number of images for each format that could not be produced.
    """

    def __init__(self, formats: tuple[str, ...]) -> None:
        """Args: ``formats`` are the requested ones."""
        self._formats = formats
        self.segmented = self.done_before = self.failed = self.processed = 0
        self.verdicts: Counter[str] = Counter({str(decision): 0 for decision in Decision})
        self.reasons: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.omitted: Counter[str] = Counter()

    @property
    def images(self) -> int:
        """All images."""
        return self.segmented + self.done_before + self.failed

    @property
    def doubtful(self) -> int:
        """Images whose mask needs a look: the verdict is review or reject."""
        return self.images - self.failed - self.verdicts[Decision.ACCEPT]

    def add(self, entry: Entry, is_from_before: bool) -> None:
        """Count one image."""
        self.processed += not is_from_before
        if isinstance(entry.outcome, Failure):
            self.failed += 1
            self.failures[entry.outcome.code] += 1
            return
        self.segmented += not is_from_before
        self.done_before += is_from_before
        self.verdicts[entry.outcome["verdict"]] += 1
        self.reasons.update(entry.outcome["reasons"].split())
        self.omitted.update(name for name in entry.omitted if name in self._formats)

    def summary_lines(self) -> list[str]:
        """Return the counts as lines of text."""
        counts = {
            "verdicts": self.verdicts,
            "reasons": self.reasons,
            "failures": self.failures,
            "formats that could not be produced": self.omitted,
        }
        return [f"{name}: {_join_counts(values)}" for name, values in counts.items() if values]


def _join_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
