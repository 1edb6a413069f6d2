"""A route as a smooth line: rounded at right angles, an S where it shifts aside."""

from __future__ import annotations

from itertools import zip_longest

from .canvas import Point
from .graph import Edge

RADIUS = 7.0
ARROW = 7.0  # how long the head is


def smooth(route: list[Point], sideways: bool) -> list[Point]:
    """Control points of cubic Bézier curves, the first point and then three per curve.

    The last curve ends where the arrow head begins. sideways: whether an S sets out to the right.
    """
    if sideways:
        return turned(smooth(turned(route), False))
    points = _merged(_with_stub(route))
    points[-1] = _towards(points[-1], points[-2], ARROW * 0.9)
    curves = [points[0]]
    if len(points) == 2:  # from a chip to its box
        return curves + _straight(*points)
    here = points[0]
    for corner, after in zip_longest(points[1:], points[2:]):
        if _is_slanted(here, corner):
            curves += _s_shape(here, corner)
            here = corner
        elif after is None or _is_slanted(corner, after):
            curves += _straight(here, corner)
            here = corner
        else:
            radius = min(RADIUS, _length(here, corner), _length(corner, after) / 2)
            enter, leave = _towards(corner, here, radius), _towards(corner, after, radius)
            curves += _straight(here, enter) if enter != here else []
            curves += [_towards(p, corner, radius * 0.55) for p in (enter, leave)]
            curves.append(leave)
            here = leave
    return curves


def arrow_head(route: list[Point], sideways: bool) -> list[Point]:
    """The corners of the arrow head at the end of a route, its tip first."""
    if sideways:
        return turned(arrow_head(turned(route), False))
    before, tip = _merged(_with_stub(route))[-2:]
    (x, y), size = tip, _length(before, tip) or 1.0
    dx, dy = (x - before[0]) / size, (y - before[1]) / size
    foot, half = (x - dx * ARROW, y - dy * ARROW), ARROW * 0.4
    return [tip, *((foot[0] - dy * side, foot[1] + dx * side) for side in (half, -half))]


def label_place(edge: Edge) -> tuple[float, float, str]:
    """Where the words of an arrow stand, above its beginning or its end; and which of theirs."""
    (x, y), (onward, height) = edge.route[:2] if not edge.last else edge.route[:-3:-1]
    if abs(height - y) < 0.05:
        return (x + 5, y - 4, "start") if onward > x else (x - 5, y - 4, "end")
    return x + 5, y + (12 if height > y else -5), "start"


def arrival(route: list[Point]) -> list[Point]:
    """The last bend of a route and its end: where it comes from."""
    return _merged(route)[-2:]


def _merged(route: list[Point]) -> list[Point]:
    """Drop points that repeat the one before, or lie on a level or upright line."""
    points: list[Point] = []
    for x, y in route:
        point = round(x, 1), round(y, 1)
        if points and point == points[-1]:
            continue
        if len(points) > 1:
            (x0, y0), (x1, y1) = points[-2:]
            if x0 == x1 == point[0] or y0 == y1 == point[1]:
                points.pop()
        points.append(point)
    return points


def turned(points: list[Point]) -> list[Point]:
    """Points with right and down exchanged."""
    return [(y, x) for x, y in points]


def _with_stub(route: list[Point]) -> list[Point]:
    """An S ends in a straight bit as long as the arrow head, so that the head stands upright."""
    points = _merged(route)
    (_, y0), (x1, y1) = points[-2:]
    if len(points) == 2 or not _is_slanted(*points[-2:]):
        return points
    return [*points[:-1], (x1, y1 - ARROW if y1 > y0 else y1 + ARROW), (x1, y1)]


def _straight(a: Point, b: Point) -> list[Point]:
    third = (b[0] - a[0]) / 3, (b[1] - a[1]) / 3
    return [(a[0] + third[0], a[1] + third[1]), (b[0] - third[0], b[1] - third[1]), b]


def _s_shape(a: Point, b: Point) -> list[Point]:
    middle = (a[1] + b[1]) / 2
    return [(a[0], middle), (b[0], middle), b]


def _is_slanted(a: Point, b: Point) -> bool:
    return abs(a[0] - b[0]) > 0.05 and abs(a[1] - b[1]) > 0.05


def _towards(a: Point, b: Point, distance: float) -> Point:
    """The point at a distance from `a` on the way to `b`, or `b` where that is nearer."""
    size = _length(a, b)
    if size <= distance:
        return b
    return a[0] + (b[0] - a[0]) * distance / size, a[1] + (b[1] - a[1]) * distance / size


def _length(a: Point, b: Point) -> float:
    return ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5
