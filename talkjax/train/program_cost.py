"""What a compiled step costs: memory, operations, and what it sends between devices, read from the program.

Figures are of one device, as the compiler made its program. Bytes of a collective are those of its result on
one device; what an algorithm moves over the wire is `wire_bytes`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "ragged-all-to-all",
)
_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "c64": 8, "c128": 16, "token": 0}
_SHAPE = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_CALL = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_GROUPS_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_GROUPS_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]")
_GROUPS_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\] *\{([^}]*)\}")


class Collective(NamedTuple):
    """One instruction: kind, bytes of its result on one device, and how many devices take part (0: all)."""

    kind: str
    bytes: int
    group: int


def collectives(hlo: str) -> list[Collective]:
    """The collectives of an optimized program (`compiled.as_text()`), each once, also inside loops.

    Asynchronous ones count at their start, whose result also repeats the operands.
    """
    found = []
    for line in hlo.splitlines():
        if (call := _CALL.search(line)) is None:
            continue
        result, kind, started = call.groups()
        sizes = [_bytes_of(*shape) for shape in _SHAPE.findall(result)]
        if started and kind != "all-reduce":  # (operands, results, ...): the results are the second half
            parts = [_bytes_of(*shape) for shape in _SHAPE.findall(_second_part(result))]
            sizes = parts or sizes[-1:]
        found.append(Collective(kind, int(sum(sizes)), _group_size(line)))
    return found


def by_kind(found: Iterable[Collective]) -> dict[str, dict[str, int]]:
    """Count and bytes of each kind that occurs."""
    table: dict[str, dict[str, int]] = {}
    for collective in found:
        row = table.setdefault(collective.kind, {"count": 0, "bytes": 0})
        row["count"] += 1
        row["bytes"] += collective.bytes
    return dict(sorted(table.items()))


def wire_bytes(found: Iterable[Collective], devices: int) -> float:
    """Bytes that one device sends, by rings: (n - 1) / n of the whole array, twice to all-reduce."""
    total = 0.0
    for kind, size, group in found:
        n = group or devices
        share = (n - 1) / n
        if kind == "all-reduce":
            total += 2 * share * size
        elif kind == "reduce-scatter":  # its result is the n-th part
            total += share * size * n
        elif kind == "collective-permute":
            total += size
        else:
            total += share * size
    return total


class Cost(NamedTuple):
    """Figures of one device; None where the backend does not tell.

    Attributes:
      arguments, temporaries, outputs, aliased: bytes; outputs that reuse donated arguments are `aliased`.
      compiler_flops: the compiler's own count; loop bodies once, elementwise operations included.
      accessed: bytes read and written by all instructions, after fusion.
      roofline_seconds: the compiler's own estimate of the time, where it makes one (TPU).
      collectives: see `collectives`.
    """

    arguments: int | None
    temporaries: int | None
    outputs: int | None
    aliased: int | None
    compiler_flops: float | None
    accessed: float | None
    roofline_seconds: float | None
    collectives: list[Collective]

    @property
    def peak_bytes(self) -> int | None:
        """Memory that the step needs: arguments, temporaries, and outputs that are new."""
        parts = (self.arguments, self.temporaries, self.outputs, self.aliased)
        if any(part is None for part in parts):
            return None
        a, t, o, d = (part or 0 for part in parts)
        return a + t + max(o - d, 0)


def program_cost(compiled: Any) -> Cost:
    """Reads a `jax.stages.Compiled`."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}

    def size(name: str) -> int | None:
        value = getattr(memory, f"{name}_size_in_bytes", None)
        return None if value is None else int(value)

    def figure(name: str) -> float | None:
        value = cost.get(name)
        return float(value) if value is not None and value > 0 else None

    return Cost(
        size("argument"),
        size("temp"),
        size("output"),
        size("alias"),
        figure("flops"),
        figure("bytes accessed"),
        figure("optimal_seconds"),
        collectives(compiled.as_text()),
    )


def _bytes_of(dtype: str, dimensions: str) -> float:
    width = _BYTES.get(dtype)
    if width is None:
        digits = re.search(r"\d+", dtype)
        width = int(digits.group()) / 8 if digits else 0
    return width * math.prod(int(d) for d in dimensions.split(",") if d)


def _second_part(result: str) -> str:
    """Of `(a, b)` or `((a, ...), (b, ...))`: b, or what is in its brackets."""
    depth, parts, current = 0, [], ""
    for character in result.strip()[1:-1]:
        depth += character in "([{"
        depth -= character in ")]}"
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    parts.append(current)
    return parts[1] if len(parts) > 1 else result


def _group_size(line: str) -> int:
    if match := _GROUPS_LISTED.search(line):
        return match.group(1).count(",") + 1
    if match := _GROUPS_IOTA.search(line):
        return int(match.group(2))
    if match := _GROUPS_MESH.search(line):
        sizes = dict(re.findall(r"'([^']*)'=(\d+)", match.group(1)))
        return math.prod(
            int(sizes[axis]) for axis in re.findall(r"'([^']*)'", match.group(2)) if axis in sizes
        )
    return 0
