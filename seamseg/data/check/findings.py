"""Faults, grouped by kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from seamseg.data.check.kinds import FAULT_KINDS, FaultKind


@dataclass
class Cause:
    """One problem that several entries share.

    Attributes:
        number: Number of entries that have it.
        where: Place of the first of them.
    """

    number: int
    where: str


@dataclass
class Findings:
    """How often each kind of fault was found, and the first examples.

    Attributes:
        limit: examples that are kept of each kind; more faults than that take no memory.
        counts, examples: by the name of the kind.
        causes: Shared problems by kind and description; at most ``limit`` of each kind.
    """

    limit: int
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    causes: dict[str, dict[str, Cause]] = field(default_factory=dict)

    def add(self, kind: str, example: str, number: int = 1) -> None:
        """Notes a fault, or several of which one is told."""
        assert kind in FAULT_KINDS, kind
        self.counts[kind] += number
        kept = self.examples.setdefault(kind, [])
        if len(kept) < self.limit:
            kept.append(example)

    def add_cause(self, kind: str, problem: str, where: str, number: int = 1) -> None:
        """Notes a fault that other entries are likely to have, too: it is described once, with their number."""
        assert kind in FAULT_KINDS, kind
        self.counts[kind] += number
        kept = self.causes.setdefault(kind, {})
        if problem in kept:
            kept[problem].number += number
        elif len(kept) < self.limit:
            kept[problem] = Cause(number, where)

    def merge(self, others: Findings, where: str) -> None:
        """Takes over what was found at some place, which the examples then name."""
        self.counts.update(others.counts)
        for kind, examples in others.examples.items():
            kept = self.examples.setdefault(kind, [])
            kept.extend(f"{where}: {example}" for example in examples[: self.limit - len(kept)])
        for kind, causes in others.causes.items():
            self.counts[kind] -= sum(cause.number for cause in causes.values())
            for problem, cause in causes.items():
                self.add_cause(kind, problem, f"{where}: {cause.where}" if cause.where else where, cause.number)

    @property
    def num_errors(self) -> int:
        return sum(number for kind, number in self.counts.items() if FAULT_KINDS[kind].is_error)

    @property
    def num_warnings(self) -> int:
        return sum(self.counts.values()) - self.num_errors

    def by_kind(self) -> list[tuple[FaultKind, int, list[str]]]:
        """Kind, number and descriptions of what was found, errors first."""
        return [
            (kind, self.counts[name], self._descriptions(name))
            for name, kind in FAULT_KINDS.items()
            if self.counts[name]
        ]

    def num_described(self, kind: str) -> int:
        """Number of faults that the descriptions of a kind cover."""
        shared = sum(cause.number for cause in self.causes.get(kind, {}).values())
        return shared + len(self.examples.get(kind, []))

    def _descriptions(self, kind: str) -> list[str]:
        shared = [
            f"{cause.where}: {problem}"
            if cause.number == 1
            else f"{problem} ({cause.number:,} times, first in {cause.where})"
            for problem, cause in self.causes.get(kind, {}).items()
        ]
        return shared + self.examples.get(kind, [])
