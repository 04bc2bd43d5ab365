"""Scale on paper: writes the tables of docs/scale.md from docs/scale.json and public figures of chips.

    python -m launch.scale                                   # tables anew; prints them too
    python -m launch.compile_only --preset=refiner --batch=64 --topology=v5e:2x4 --json=a.json
    python -m launch.scale --add=a.json                      # takes a compiled step into docs/scale.json

docs/scale.json holds what was measured: figures of compiled steps. Everything else is in this file, as named
assumptions, each with a cautious and a hopeful value; the results are ranges between the two.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from absl import app, flags

from talkjax.errors import InputError, TalkjaxError
from talkjax.train.chips import CHIPS, Chip

ROOT = Path(__file__).resolve().parents[1]
PAGE, DATA = ROOT / "docs" / "scale.md", ROOT / "docs" / "scale.json"
MEASURED_ON = 8  # devices of the compiled steps, mesh data 8


class Range(NamedTuple):
    """A cautious and a hopeful value."""

    low: float
    high: float


class Machine(NamedTuple):
    """A chip, how many of them, and what counts as one loop turn and one collective there, seconds.

    `links`: share of the published link rate that an all-reduce gets.
    """

    name: str
    chip: str
    devices: int
    links: Range
    turn: Range
    collective: Range


# Shares of the published peaks, of convolutional nets with 24 to 512 channels in bfloat16.
COMPUTE = Range(0.10, 0.40)
MEMORY = Range(0.50, 0.90)
_TPU = {"turn": Range(5e-6, 1e-6), "collective": Range(20e-6, 3e-6)}
_GPU = {"turn": Range(40e-6, 5e-6), "collective": Range(60e-6, 15e-6)}
MACHINES = (
    # cautious: one ring over two of the chip's four or six ports; hopeful: all ports at once
    Machine("v5e-8", "TPU v5e", 8, Range(2 / 4, 1.0), **_TPU),
    Machine("v5p-64", "TPU v5p", 32, Range(2 / 6, 1.0), **_TPU),  # 64 cores are 32 chips
    Machine("8xH200", "H200 SXM", 8, Range(0.6, 0.9), **_GPU),
)
ONE_H100 = Machine("one H100", "H100 SXM", 1, Range(1.0, 1.0), **_GPU)
PADDED_BELOW = 8  # examples a device: the TPU fills up fewer, and 2 cost as much as 8
STATE_PASSES = 10  # with one batch only: times that parameters, gradients and Adam's moments pass by
PER_DEVICE = 16  # examples, in the table of step times
NAMES = {
    "mapping": "mapping, default",
    "mapping_paper": "mapping, paper",
    "refiner": "refiner, lite",
    "refiner_paper": "refiner, paper",
}


class Preset(NamedTuple):
    """What is known of a training step: measured, or computed from what was measured.

    Attributes:
      flops, batch_bytes: of one example.
      fixed_bytes, example_bytes: memory traffic of a device, a step, and an example more.
      reduced, gathered: bytes of results of all-reduces and of all-gathers, on one device.
      collectives: how many.
      turns: of loops, one after the other.
      points: measured: examples a device, its memory traffic, its memory.
    """

    name: str
    parameters: int
    state_bytes: int
    flops: float
    batch_bytes: float
    fixed_bytes: float
    example_bytes: float
    reduced: float
    gathered: float
    collectives: int
    turns: int
    points: list[tuple[int, float, float]]


def load(data: dict[str, Any]) -> list[Preset]:
    """The presets of docs/scale.json, in the order of `NAMES`."""
    presets = []
    for name in NAMES:
        points = sorted(data.get(name, {}).get("points", []), key=lambda p: p["batch"])
        if not points:
            continue
        last = points[-1]
        fixed, slope = _traffic(points)
        found = last["collectives"]
        presets.append(
            Preset(
                name,
                last["trained_parameters"],
                last["state_bytes"],
                last["flops"] / last["batch"],
                last["batch_bytes"] / last["batch"],
                fixed,
                slope,
                sum(found.get(kind, {}).get("bytes", 0) for kind in ("all-reduce",)),
                sum(row["bytes"] for kind, row in found.items() if kind != "all-reduce"),
                sum(row["count"] for row in found.values()),
                data[name]["loop_turns"],
                [(p["batch"] // p["devices"], p["accessed_bytes"], p["peak_bytes"]) for p in points],
            )
        )
    return presets


def _traffic(points: list[dict[str, Any]]) -> tuple[float, float]:
    """Bytes of a device: fixed, and for an example. From the two largest batches that are not padded."""
    full = [p for p in points if p["batch"] / p["devices"] >= PADDED_BELOW][-2:]
    last = points[-1]
    b1 = last["batch"] / last["devices"]
    if len(full) == 2 and full[1]["accessed_bytes"] > full[0]["accessed_bytes"]:
        b0 = full[0]["batch"] / full[0]["devices"]
        slope = (last["accessed_bytes"] - full[0]["accessed_bytes"]) / (b1 - b0)
        if (fixed := last["accessed_bytes"] - slope * b1) >= 0:
            return fixed, slope
    fixed = STATE_PASSES * 4.0 * last["trained_parameters"]
    return fixed, max(last["accessed_bytes"] - fixed, 0.0) / b1


def chip_of(machine: Machine) -> Chip:
    """Its line of the table of chips."""
    return next(chip for chip in CHIPS if chip.name == machine.chip)


def parts(
    preset: Preset, machine: Machine, per_device: float, pick: Callable[[Range], float]
) -> dict[str, float]:
    """Seconds of a step's parts: compute, memory, turns, sending."""
    chip, n = chip_of(machine), machine.devices
    sent = 2 * (n - 1) / n * preset.reduced + (n - 1) / n * preset.gathered
    times = {
        "compute": preset.flops * per_device / (chip.flops * pick(COMPUTE)),
        "memory": (preset.fixed_bytes + preset.example_bytes * per_device)
        / (chip.memory_rate * pick(MEMORY)),
        "turns": preset.turns * pick(machine.turn),
        "sending": 0.0,
    }
    if n > 1 and chip.link_rate is not None:
        times["sending"] = sent / (chip.link_rate * pick(machine.links))
        times["sending"] += preset.collectives * pick(machine.collective)
    return times


def step_time(preset: Preset, machine: Machine, per_device: float) -> Range:
    """Seconds of one step: cautious with nothing overlapped, hopeful with all sending behind the work."""
    a = parts(preset, machine, per_device, lambda r: r.low)
    b = parts(preset, machine, per_device, lambda r: r.high)
    cautious = max(a["compute"], a["memory"]) + a["turns"] + a["sending"]
    hopeful = max(max(b["compute"], b["memory"]) + b["turns"], b["sending"])
    return Range(cautious, hopeful)


def middle(r: Range) -> float:
    """Geometric mean."""
    return math.sqrt(r.low * r.high)


def limit(preset: Preset, machine: Machine, per_device: float) -> str:
    """The longest part, at the middle of all assumptions."""
    times = parts(preset, machine, per_device, middle)
    return max(times, key=lambda name: times[name])


def communication_batch(preset: Preset, machine: Machine, pick: Callable[[Range], float]) -> int:
    """The smallest global batch whose work takes as long as its sending; below it, communication decides."""
    per_device = 1
    while per_device < 2**16:
        t = parts(preset, machine, per_device, pick)
        if max(t["compute"], t["memory"]) + t["turns"] >= t["sending"]:
            break
        per_device += 1
    return per_device * machine.devices


def tables(presets: list[Preset]) -> str:
    """All tables of the page, as Markdown."""
    sections = [_measured(presets), _times(presets), _batches(presets), _check(presets), _assumed()]
    return "\n\n".join(section for section in sections if section)


def _table(title: str, head: list[str], rows: list[list[str]]) -> str:
    lines = [f"**{title}**", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _measured(presets: list[Preset]) -> str:
    rows = [
        [
            NAMES[p.name],
            _number(p.parameters),
            _bytes(p.state_bytes),
            f"{_number(p.flops)}FLOP",
            ", ".join(f"{_bytes(traffic)} at {b}" for b, traffic, _ in p.points),
            _bytes(p.points[-1][2]),
            _bytes(p.batch_bytes),
            f"{p.collectives}: {_bytes(2 * (MEASURED_ON - 1) / MEASURED_ON * p.reduced + p.gathered)}",
            str(p.turns),
        ]
        for p in presets
    ]
    head = [
        "preset", "trained parameters", "state", "an example", "memory traffic of a device, at examples",
        "its memory, at the more", "input, an example", "collectives: sent by a device", "loop turns",
    ]  # fmt: skip
    return _table("Measured: one training step, compiled for 8 chips, all data-parallel", head, rows)


def _times(presets: list[Preset]) -> str:
    rows = []
    for p in presets:
        for machine in MACHINES:
            t = step_time(p, machine, PER_DEVICE)
            batch, mid = PER_DEVICE * machine.devices, middle(t)
            share = p.flops * batch / (mid * machine.devices * chip_of(machine).flops)
            span = f"{_seconds(mid)} ({_seconds(t.high)} - {_seconds(t.low)})"
            rows.append([
                NAMES[p.name], machine.name, str(batch), span,
                f"{_number(batch / mid)}", f"{100 * share:.2g} %", f"{_bytes(p.batch_bytes * batch / mid)}/s",
                limit(p, machine, PER_DEVICE),
            ])  # fmt: skip
    head = ["preset", "where", "batch", "step (range)", "examples/s", "MFU", "input", "longest part"]
    return _table(f"Expected: {PER_DEVICE} examples a device", head, rows)


def _batches(presets: list[Preset]) -> str:
    rows = []
    for p in presets:
        row = [NAMES[p.name]]
        for machine in MACHINES:
            values = [
                communication_batch(p, machine, pick) for pick in (middle, lambda r: r.high, lambda r: r.low)
            ]
            least = machine.devices
            text = (
                f"{values[0]} ({min(values)} - {max(values)})"
                if max(values) > least
                else f"never, down to {least}"
            )
            row.append(text)
        rows.append(row)
    title = "Communication decides below this global batch (range of the assumptions)"
    return _table(title, ["preset", *(m.name for m in MACHINES)], rows)


def _check(presets: list[Preset]) -> str:
    """The one step that was timed on an accelerator."""
    found = [p for p in presets if p.name == "mapping"]
    if not found:
        return ""
    t = step_time(found[0], ONE_H100, 16)
    return (
        f"Against reality, one point: the default mapping, batch 16, one H100. Here {_seconds(t.high)} to "
        f"{_seconds(t.low)} a step; measured 18 ms (7,000 steps in 128 s with start, compiling and input, "
        "[mapping_card.md](mapping_card.md)). The range of a loop turn on a GPU was chosen with it in view."
    )


def _assumed() -> str:
    rows = []
    for machine in MACHINES:
        c = chip_of(machine)
        rows.append([
            f"{machine.name} ({machine.devices} x {c.name})", f"{c.flops / 1e12:g} TFLOP/s",
            f"{c.memory_rate / 1e9:g} GB/s", f"{(c.link_rate or 0) / 1e9:g} GB/s",
            f"{machine.links.low:.2g} - {machine.links.high:.2g}",
            f"{_seconds(machine.turn.high)} - {_seconds(machine.turn.low)}",
            f"{_seconds(machine.collective.high)} - {_seconds(machine.collective.low)}",
        ])  # fmt: skip
    text = (
        f"Shares of peak: compute {COMPUTE.low:g} - {COMPUTE.high:g}, memory {MEMORY.low:g} - "
        f"{MEMORY.high:g}. "
        "Chip figures: Google Cloud TPU documentation (half of the bidirectional ICI bandwidth goes out), "
        "NVIDIA data sheets (dense bfloat16; half of NVLink's 900 GB/s goes out)."
    )
    head = ["where", "bfloat16", "memory", "links, out", "share of links", "a loop turn", "a collective"]
    return _table("Assumed", head, rows) + "\n\n" + text


def _number(value: float) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} "


def _bytes(value: float) -> str:
    return f"{_number(value)}B"


def _seconds(value: float) -> str:
    unit, size = next((u for u in (("s", 1.0), ("ms", 1e-3)) if value >= u[1]), ("µs", 1e-6))
    return f"{float(f'{value / size:.2g}'):g} {unit}"


BEGIN, END = "<!-- tables: python -m launch.scale -->", "<!-- end of tables -->"


def page_with(text: str, made: str) -> str:
    """The page with its tables replaced.

    Raises:
      InputError: the page has no place for them.
    """
    if BEGIN not in text or END not in text:
        raise InputError(f"{PAGE} has no tables", expected=f"{BEGIN} ... {END}", code="damaged")
    head, rest = text.split(BEGIN, 1)
    return f"{head}{BEGIN}\n\n{made}\n\n{END}{rest.split(END, 1)[1]}"


def add(data: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """docs/scale.json with one more compiled step.

    Raises:
      InputError: not from `MEASURED_ON` devices in pure data parallelism.
    """
    if figures["mesh"] != {"data": MEASURED_ON, "fsdp": 1, "model": 1}:
        raise InputError(f"a mesh of {figures['mesh']}", expected=f"data {MEASURED_ON}", code="bad_mesh")
    name = figures["task"]
    kept = [p for p in data.get(name, {}).get("points", []) if p["batch"] != figures["batch"]]
    points = sorted([*kept, figures], key=lambda p: p["batch"])
    return data | {name: {"loop_turns": loop_turns(name), "points": points}}


def loop_turns(name: str) -> int:
    """Of a preset's step; traced."""
    import jax

    from launch.shapes import PRESETS
    from talkjax.train.flops import count_loop_turns

    made = PRESETS[name](MEASURED_ON, "bfloat16", 1)
    state = jax.eval_shape(made.job.init)
    return count_loop_turns(made.job.phases[0].step, state, made.batch, *made.job.constants)


def main(argv: list[str]) -> None:
    del argv
    try:
        data = json.loads(DATA.read_text()) if DATA.exists() else {}
        for path in flags.FLAGS.add:
            data = add(data, json.loads(Path(path).read_text()))
        if flags.FLAGS.add:
            DATA.write_text(json.dumps(data, indent=1) + "\n")
        made = tables(load(data))
        PAGE.write_text(page_with(PAGE.read_text(), made))
        print(made)
    except TalkjaxError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    flags.DEFINE_list("add", [], "files of compile_only --json to take in")
    app.run(main)
