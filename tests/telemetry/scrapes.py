"""Reads what a scrape brings, as Prometheus does."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.samples = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels."""
        return sum(
            value
            for found, its_labels, value in self.samples
            if found == name and labels.items() <= its_labels.items()
        )

    @property
    def names(self) -> set[str]:
        return {name for name, *_ in self.samples}
