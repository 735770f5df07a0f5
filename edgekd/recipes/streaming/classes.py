"""The eight classes of Argoverse-HD, in its order (A2)."""

from __future__ import annotations

CLASSES = ("person", "bicycle", "car", "motorcycle", "bus", "truck", "traffic_light", "stop_sign")
PERSON, BICYCLE, CAR, MOTORCYCLE, BUS, TRUCK, TRAFFIC_LIGHT, STOP_SIGN = range(len(CLASSES))
PADDING = -1  # class of a row that holds no box
