"""Faults, grouped by kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from seamseg.data.check.kinds import FAULT_KINDS, FaultKind


@dataclass
class Findings:
    """How often each kind of fault was found, and the first examples.

    Attributes:
        limit: examples that are kept of each kind; more faults than that take no memory.
        counts, examples: by the name of the kind.
    """

    limit: int
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, example: str, number: int = 1) -> None:
        """Notes a fault, or several of which one is told."""
        assert kind in FAULT_KINDS, kind
        self.counts[kind] += number
        kept = self.examples.setdefault(kind, [])
        if len(kept) < self.limit:
            kept.append(example)

    def merge(self, others: Findings, where: str) -> None:
        """Takes over what was found at some place, which the examples then name."""
        self.counts.update(others.counts)
        for kind, examples in others.examples.items():
            kept = self.examples.setdefault(kind, [])
            kept.extend(f"{where}: {example}" for example in examples[: self.limit - len(kept)])

    @property
    def num_errors(self) -> int:
        return sum(number for kind, number in self.counts.items() if FAULT_KINDS[kind].is_error)

    @property
    def num_warnings(self) -> int:
        return sum(self.counts.values()) - self.num_errors

    def by_kind(self) -> list[tuple[FaultKind, int, list[str]]]:
        """Kind, number and examples of what was found, errors first."""
        return [
            (kind, self.counts[name], self.examples[name]) for name, kind in FAULT_KINDS.items() if self.counts[name]
        ]
