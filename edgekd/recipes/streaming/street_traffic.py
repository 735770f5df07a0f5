"""Who is on the procedural street, where, at every frame: a function of the seed alone.

Speeds are those of a town: cars 6 to 15 m/s, bicycles 3 to 7, walkers 0.8 to 2; 30 frames per second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.recipes.streaming import street_things as things
from edgekd.recipes.streaming.classes import (
    BICYCLE,
    BUS,
    CAR,
    MOTORCYCLE,
    PADDING,
    PERSON,
    STOP_SIGN,
    TRAFFIC_LIGHT,
    TRUCK,
)  # fmt: skip
from edgekd.recipes.streaming.street_backdrop import FARTHEST, LANE, PARKING, PAVEMENT, Layout

FPS = 30.0
SIGHT = 95.0  # m: what is farther is not drawn
Track = NDArray[np.float64]


@dataclass(frozen=True)
class Thing:
    """Something on the street.

    Attributes:
        kind: its class; ``PADDING``: scenery.
        solid: its shape at a frame.
        s, d, heading: (n,) at each frame; heading 0 is the camera's way, clockwise from above.
        shadow: length and width in m on the ground; 0: none.
        lift: m that it is drawn nearer than it is: a rider is in front of the bicycle.
    """

    kind: int
    solid: Callable[[int], things.Solid]
    s: Track
    d: Track
    heading: Track
    shadow: tuple[float, float] = (0.0, 0.0)
    lift: float = 0.0


@dataclass(frozen=True)
class Ride:
    """The camera's own way: (n,) each."""

    s: Track
    d: Track
    curvature: Track
    yaw: Track
    pitch: Track
    heading: Track


def waves(rng: np.random.Generator, seconds: Track, size: float, shortest: float, longest: float) -> Track:
    """A smooth random function of time: three sines of periods from ``shortest`` to ``longest`` s, about ±size."""
    periods, phases = rng.uniform(shortest, longest, 3), rng.uniform(0, 2 * np.pi, 3)
    return size / 1.7 * np.sin(2 * np.pi * seconds[:, None] / periods + phases).sum(axis=1)


def layout(rng: np.random.Generator) -> Layout:
    """A street; one in five is one-way."""
    gaps = rng.uniform(45.0, 90.0, 40)
    crossings = rng.uniform(15.0, 60.0) + np.concatenate([[0.0], np.cumsum(gaps)])
    return Layout(
        own=int(rng.choice([1, 2])),
        oncoming=int(rng.choice([0, 1, 1, 2, 2])),
        parking=(bool(rng.random() < 0.7), bool(rng.random() < 0.75)),
        crossings=crossings,
        signals=rng.choice([0, 1, 1, 2, 2], len(crossings)),
        half_crossing=float(rng.uniform(4.5, 7.0)),
    )


def ride(rng: np.random.Generator, frames: int, street: Layout) -> tuple[Ride, int]:
    """How the camera moves, and in which of its lanes."""
    t = np.arange(frames) / FPS
    speed = np.clip(rng.uniform(4.0, 13.0) + waves(rng, t, rng.uniform(1.0, 4.0), 3.0, 9.0), 0.0, 15.0)
    bend = waves(rng, t, 1.0, 4.0, 12.0)
    curvature = rng.choice([0.004, 0.008, 0.02]) * np.sign(bend) * np.maximum(np.abs(bend) - 0.25, 0.0)
    speed = np.minimum(speed, 3.0 + 0.32 / np.maximum(np.abs(curvature), 0.01) ** 0.75)
    s = np.concatenate([[0.0], np.cumsum(speed[:-1]) / FPS])
    lane = int(rng.integers(street.own))
    d = LANE * (lane + 0.5) + waves(rng, t, 0.25, 3.0, 8.0)
    braking = np.gradient(speed) * FPS if frames > 1 else np.zeros(1)
    pitch = 0.0022 * waves(rng, t, 1.0, 0.35, 0.9) * speed / 8.0 - 0.0022 * np.clip(braking, -5, 5)
    yaw = waves(rng, t, 0.012, 2.0, 5.0)
    return Ride(s, d, curvature, yaw, pitch, np.cumsum(speed * curvature) / FPS), lane


class _Cast:
    """Collects things while the dice are thrown in one order."""

    def __init__(self, rng: np.random.Generator, street: Layout, own: Ride) -> None:
        self.rng, self.street, self.own = rng, street, own
        self.frames = len(own.s)
        self.t = np.arange(self.frames) / FPS
        self.reach = float(own.s[-1]) + SIGHT
        self.found: list[Thing] = []

    def still(self, value: float) -> Track:
        return np.full(self.frames, value)

    def add(
        self, kind: int, solid: things.Solid | Callable[[int], things.Solid], s: Track, d: Track, heading: Track,
        shadow: tuple[float, float] = (0.0, 0.0), lift: float = 0.0,
    ) -> None:  # fmt: skip
        shape = solid if callable(solid) else (lambda _, fixed=solid: fixed)
        self.found.append(Thing(kind, shape, s, d, heading, shadow, lift))

    def vehicle(self, s: Track, d: Track, heading: Track, shares: tuple[float, ...]) -> None:
        """A car, bus, truck, motorcycle or bicycle, by these shares."""
        kind = int(self.rng.choice([CAR, BUS, TRUCK, MOTORCYCLE, BICYCLE], p=np.array(shares) / sum(shares)))
        if kind in (MOTORCYCLE, BICYCLE):
            self.two_wheels(kind, s, d, heading)
            return
        make = {CAR: things.car, BUS: things.bus, TRUCK: things.truck}[kind]
        solid, length = make(self.rng)
        self.add(kind, solid, s, d, heading, (length, 1.9 if kind == CAR else 2.5))

    def two_wheels(self, kind: int, s: Track, d: Track, heading: Track, ridden: bool = True) -> None:
        solid, length = (things.bicycle if kind == BICYCLE else things.motorcycle)(self.rng)
        self.add(kind, solid, s, d, heading, (length, 0.6))
        if not ridden:
            return
        rider = things.Rider(self.rng, pedals=kind == BICYCLE)
        way = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(s), np.diff(d)))])
        phase = way / 0.85 + self.rng.uniform(0, 6.28)
        self.add(PERSON, lambda k: rider.solid(float(phase[k]), 1.0), s, d, heading, lift=0.12)

    def walker(self, s: Track, d: Track) -> None:
        """Somebody who walks along a way, looking ahead on it."""
        person = things.Person(self.rng)
        ds, dd = np.gradient(s), np.gradient(d)
        pace = np.hypot(ds, dd) * FPS
        phase = np.cumsum(pace / FPS) / (0.42 * person.height) * np.pi / 1.6 + self.rng.uniform(0, 6.28)
        heading = np.arctan2(dd, ds) if pace.max() > 0.1 else self.still(self.rng.uniform(-3.14, 3.14))
        share = np.clip(pace / 1.3, 0.0, 1.2)
        self.add(PERSON, lambda k: person.solid(float(phase[k]), float(share[k])), s, d, heading, (0.5, 0.5))


def cast(rng: np.random.Generator, street: Layout, own: Ride, lane: int) -> list[Thing]:
    """Everything on the street during the ride."""
    on = _Cast(rng, street, own)
    _parked(on)
    _moving(on, lane)
    _walkers(on)
    _crossings(on)
    _scenery(on)
    return [thing for thing in on.found if not _hits(thing, own)]


def _hits(thing: Thing, own: Ride) -> bool:
    """Whether it ever is where the camera's car is: then somebody would have braked, and it is left out."""
    if thing.kind == PADDING:
        return False
    half = max(0.9, thing.shadow[0] / 2)
    turned = np.abs(np.sin(thing.heading))
    across, along = 1.1 + turned * (half - 0.5), half + turned * (1.2 - half)
    ahead = thing.s - own.s
    return bool(((np.abs(thing.d - own.d) < across + 0.7) & (ahead > -along) & (ahead < along + 2.5)).any())


def _parked(on: _Cast) -> None:
    rng, street = on.rng, on.street
    left, right = street.curbs
    for side, curb in ((0, left + PARKING / 2), (1, right - PARKING / 2)):
        if not street.parking[side]:
            continue
        against = side == 0 and street.oncoming > 0
        s, full = -10.0 + rng.uniform(0, 5), rng.uniform(0.35, 0.8)
        while s < on.reach:
            step = 6.2
            if rng.random() < full and street.from_crossing(np.array(s)) > street.half_crossing + 6.5:
                heading = on.still((np.pi if against else 0.0) + rng.normal(0, 0.02))
                place = on.still(s), on.still(curb + rng.normal(0, 0.08))
                if rng.random() < 0.12:
                    kind = MOTORCYCLE if rng.random() < 0.6 else BICYCLE
                    on.two_wheels(kind, *place, heading, ridden=False)
                    step = 3.0
                else:
                    on.vehicle(*place, heading, (0.95, 0.0, 0.05, 0.0, 0.0))
                    step = 9.5 if on.found[-1].kind == TRUCK else 6.2
            s += step


def _moving(on: _Cast, lane: int) -> None:
    rng, street = on.rng, on.street
    traffic = (0.66, 0.13, 0.09, 0.12, 0.0)
    gap = np.clip(rng.uniform(9.0, 30.0) + waves(rng, on.t, rng.uniform(1.0, 6.0), 3.0, 8.0), 7.5, None)
    if rng.random() < 0.75:
        on.vehicle(on.own.s + gap, LANE * (lane + 0.5) + waves(rng, on.t, 0.2, 3.0, 8.0), on.still(0.0), traffic)
    for other in range(street.own):
        if other == lane:
            continue
        faster = rng.uniform(-3.0, 3.5)
        s = on.own.s + faster * on.t + waves(rng, on.t, 1.0, 3.0, 8.0)
        place = rng.uniform(-12.0, 20.0) - 50.0 * (faster > 0)
        for _ in range(6):
            on.vehicle(s + place, on.still(LANE * (other + 0.5)), on.still(0.0), traffic)
            place += rng.uniform(14.0, 34.0)
    for other in range(street.oncoming):
        speed = rng.uniform(5.0, 14.0) + waves(rng, on.t, 0.8, 3.0, 8.0)
        way = np.cumsum(speed) / FPS
        place = rng.uniform(5.0, 30.0)
        while place < on.reach + way[-1]:
            on.vehicle(place - way, on.still(-LANE * (other + 0.5)), on.still(np.pi), traffic)
            place += rng.uniform(13.0, 45.0)
    edge = street.curbs[1] - (PARKING if street.parking[1] else 0.0) - 0.5
    place = rng.uniform(2.0, 25.0)
    while place < on.reach:
        if rng.random() < 0.6:
            s = place + np.cumsum(rng.uniform(2.5, 7.0) + waves(rng, on.t, 0.4, 2.0, 5.0)) / FPS
            on.two_wheels(BICYCLE, s, edge + waves(rng, on.t, 0.15, 1.5, 4.0), on.still(0.0))
        place += rng.uniform(12.0, 40.0)


def _walkers(on: _Cast) -> None:
    rng, street = on.rng, on.street
    left, right = street.curbs
    for curb, sign in ((left, -1.0), (right, 1.0)):
        place, crowd = rng.uniform(-5.0, 8.0), rng.uniform(4.0, 16.0)
        while place < on.reach:
            walks = 0.0 if rng.random() < 0.2 else rng.choice([-1.0, 1.0]) * rng.uniform(0.8, 2.0)
            d = curb + sign * rng.uniform(0.6, PAVEMENT - 0.5)
            on.walker(place + walks * on.t, d + waves(rng, on.t, 0.1, 2.0, 5.0))
            place += rng.exponential(crowd)
    for _ in range(int(rng.integers(1, 5))):  # across the road, somewhere ahead of the camera
        at = on.own.s[int(rng.integers(on.frames))] + rng.uniform(7.0, 35.0)
        way, speed = rng.choice([-1.0, 1.0]), rng.uniform(1.1, 2.6)
        start = (left - 1.0 if way > 0 else right + 1.0) - way * speed * rng.uniform(-1.0, 2.5)
        on.walker(on.still(at) + 0.2 * on.t, start + way * speed * on.t)


def _crossings(on: _Cast) -> None:
    rng, street = on.rng, on.street
    left, right = street.curbs
    wide = street.walls[1] - street.walls[0]
    for centre, signal in zip(street.crossings, street.signals, strict=True):
        if centre > on.reach + 10:
            break
        before, after = centre - street.half_crossing - 1.2, centre + street.half_crossing + 0.8
        if signal == 1:
            cycle = (on.t / rng.uniform(5.0, 9.0) + rng.random()) % 1.0
            lit = np.select([cycle < 0.5, cycle < 0.9], [0, 2], 1)
            arm = rng.uniform(2.5, 4.5)
            hung = ((right + 0.5, before, 2.6, 0.0), (right + 0.5, after, 4.9, arm), (left - 0.5, after, 2.6, 0.0))
            for d, s, low, over in hung:
                on.add(PADDING, things.pole(low + 1.1, over), on.still(s), on.still(d), on.still(0.0))
                shown = _changing([things.traffic_light(low - 0.4 * (over > 0), k) for k in range(3)], lit)
                for back in sorted({0.0, over}):
                    on.add(TRAFFIC_LIGHT, shown, on.still(s - 0.1), on.still(d - back), on.still(0.0), lift=0.2)
        elif signal == 2:
            on.add(PADDING, things.pole(2.7), on.still(before), on.still(right + 0.5), on.still(0.0))
            on.add(
                STOP_SIGN, things.stop_sign(2.05), on.still(before - 0.1), on.still(right + 0.5),
                on.still(rng.normal(0, 0.06)), lift=0.2,
            )  # fmt: skip
        for way in (-1.0, 1.0):  # what drives and walks across
            lane_s = centre - way * street.half_crossing * 0.36
            place = -rng.uniform(0.0, 60.0)
            speed = rng.uniform(4.0, 11.0)
            for _ in range(int(rng.integers(0, 5))):
                across = (place + speed * on.t) * way - way * wide / 2
                on.vehicle(on.still(lane_s), across, on.still(way * np.pi / 2), (0.62, 0.08, 0.1, 0.1, 0.1))
                place -= rng.uniform(9.0, 30.0)
            for _ in range(int(rng.integers(0, 5))):
                s = centre + rng.choice([-1.0, 1.0]) * (street.half_crossing + rng.uniform(0.2, 1.8))
                across = way * (rng.uniform(-14.0, 6.0) + rng.uniform(0.9, 1.9) * on.t)
                on.walker(on.still(s) + 0.05 * on.t, across)


def _changing(solids: Sequence[things.Solid], which: NDArray[np.int64]) -> Callable[[int], things.Solid]:
    """One of the solids at each frame."""
    return lambda k: solids[int(which[k])]


def _scenery(on: _Cast) -> None:
    rng, street = on.rng, on.street
    left, right = street.curbs
    for curb, sign in ((left, -1.0), (right, 1.0)):
        place, every, leafy = rng.uniform(-5.0, 10.0), rng.uniform(9.0, 24.0), rng.random() < 0.6
        while place < min(on.reach, on.own.s[-1] + FARTHEST):
            if street.from_crossing(np.array(place)) > street.half_crossing + 2:
                solid = things.tree(rng) if leafy and rng.random() < 0.8 else things.pole(rng.uniform(4.0, 7.0))
                on.add(PADDING, solid, on.still(place), on.still(curb + sign * 0.45), on.still(0.0))
            place += every * rng.uniform(0.8, 1.2)
