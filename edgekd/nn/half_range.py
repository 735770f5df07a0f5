"""What fp16 can hold of a graph, judged by the numbers that were seen in fp32.

Builders that write types into a graph share it, whatever the graph is: each asks node by node, keeps in fp32 what has a
reason to be, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekd.contracts import Array

LARGEST = 65504.0  # of an fp16
SMALLEST = 2.0**-14  # that keeps all of its 11 bits
HEADROOM = 4.0  # numbers may be so much larger than those that were scanned
NAMED = 3  # of the nodes that a note says stayed fp32
# Reasons that lie in what a node is, and not in its numbers.
MARKED, COMPUTES_PLACES, READS_PLACES = (
    "the model marks it",
    "it computes coordinates",
    "it reads at coordinates",
)


def activation_misfit(name: str, largest: float) -> str:
    """Why fp16 cannot hold a tensor whose largest magnitude is ``largest``; empty where it can.

    Infinite stands for what is no number. A tensor of zeros alone is held.
    """
    if largest * HEADROOM > LARGEST:
        return f"{name} reaches {largest:.3g}"
    if 0 < largest < SMALLEST:
        return f"{name} reaches {largest:.3g} alone, and fp16 loses bits below {SMALLEST:.2g}"
    return ""


def constant_too_large(name: str, value: Array) -> str:
    """Why fp16 cannot hold a constant; empty where it can."""
    largest = float(np.abs(value).max(initial=0.0))
    return f"its constant {name} reaches {largest:.3g}" if largest > LARGEST else ""


def constant_too_small(name: str, value: Array) -> str:
    """The same of a single number, or of scales: an epsilon that becomes 0, a step that is rounded away."""
    least = float(np.abs(value).min()) if value.size else 0.0
    return f"its constant {name} is {least:.3g}" if 0 < least < SMALLEST else ""


def sum_misfit(largest: float, terms: float, squared: bool) -> str:
    """Why a sum over ``terms`` numbers up to ``largest``, or over their squares, may not fit; empty where it does.

    What adds up all that it reads before it divides must hold the sum, too.
    """
    terms = max(1.0, terms)
    total = largest ** (2 if squared else 1) * terms
    if total <= LARGEST:
        return ""
    return f"its sum over {terms:.0f} numbers up to {largest:.3g} may reach {total:.3g}"


def note(kept: Mapping[str, str], samples: int | None) -> str:
    """What a bundle says of the nodes that stayed fp32: some with their reasons, first those that numbers gave.

    Args:
        kept: node -> reason.
        samples: how many were scanned; None where there were none to scan.
    """
    scanned = (
        f"ranges scanned over {samples} calibration samples"
        if samples is not None
        else "no ranges were scanned: there are no calibration samples"
    )
    if not kept:
        return f"fp16 throughout; {scanned}"
    surprising_first = sorted(kept.items(), key=lambda item: item[1] in (MARKED, COMPUTES_PLACES, READS_PLACES))
    named = "; ".join(f"{node}: {why}" for node, why in surprising_first[:NAMED])
    more = f"; and {len(kept) - NAMED} more" if len(kept) > NAMED else ""
    return f"{len(kept)} nodes stay fp32 ({named}{more}); {scanned}"
