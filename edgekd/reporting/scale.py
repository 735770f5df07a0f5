"""How a recipe's figures are to be read: their units, and which direction is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekd.reporting.collect import Collected


@dataclass(frozen=True)
class Scale:
    """``higher_is_better`` is None for a recipe that is not registered here."""

    primary: str = ""
    higher_is_better: bool | None = None
    units: Mapping[str, str] = field(default_factory=dict)

    def unit(self, metric: str) -> str:
        return self.units.get(metric, "")

    def labelled(self, metric: str) -> str:
        unit = self.unit(metric)
        return f"{metric}, {unit}" if unit else metric

    def best(self, values: list[float]) -> float | None:
        if not values or (self.higher_is_better is None and len(values) > 1):
            return None
        return max(values) if self.higher_is_better else min(values)

    def loss(self, before: float | None, after: float | None) -> float | None:
        """Relative loss from ``before`` to ``after``; negative is a gain; None where it cannot be told."""
        if before is None or after is None or before == 0 or self.higher_is_better is None:
            return None
        worse = before - after if self.higher_is_better else after - before
        return worse / abs(before)


UNKNOWN = Scale()


def scales(found: Collected) -> dict[str | None, Scale]:
    """Recipe -> scale, for every recipe that something was found of."""
    from edgekd.registry import recipe_part, recipes

    names = {run.record.recipe for run in found.runs} | {bundle.manifest.recipe for bundle in found.bundles}
    known: dict[str | None, Scale] = dict.fromkeys(names, UNKNOWN)
    for name in names:
        if name is not None and name in recipes():
            metrics = recipe_part(name, "metrics").METRICS
            known[name] = Scale(metrics.primary, metrics.higher_is_better, metrics.units)
    return known
