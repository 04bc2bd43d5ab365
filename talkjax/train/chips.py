"""Peak figures of the chips that training runs on, as their makers publish them, and the share reached.

Model FLOPs utilization (MFU) here is: matmul and convolution operations of one step, over seconds, devices
and the chip's dense bfloat16 peak, which is the yardstick also where a step computes in float32.
"""

from __future__ import annotations

import functools
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

_GOOGLE = "Google Cloud TPU documentation, page of the version, read in 2026"
_NVIDIA = "NVIDIA data sheet; half of the figure given with sparsity"


class Chip(NamedTuple):
    """What one JAX device of a kind can do at most.

    Attributes:
      name: as people say it.
      kinds: the beginnings of `jax.Device.device_kind`, longest match wins.
      flops: dense bfloat16 (T4: float16) operations per second, 2 per multiply-add.
      memory: bytes.
      memory_rate: bytes per second between chip and its memory.
      link_rate: bytes per second out of the chip to its neighbors in the slice or the machine, all links
        together, one direction; None where this table does not need it.
      source: where the figures are from.
    """

    name: str
    kinds: tuple[str, ...]
    flops: float
    memory: float
    memory_rate: float
    link_rate: float | None
    source: str


GIB = 2.0**30

CHIPS: tuple[Chip, ...] = (
    # TPU v3 shows each of its two cores as a device: half of the chip's 123 TFLOP/s, 32 GiB, 900 GB/s
    Chip("TPU v3 core", ("TPU v3",), 61.5e12, 16 * GIB, 450e9, None, _GOOGLE),
    Chip("TPU v4", ("TPU v4",), 275e12, 32 * GIB, 1200e9, None, _GOOGLE),
    # "bidirectional ICI bandwidth per chip" counts both directions of all ports: half of it goes out
    Chip("TPU v5e", ("TPU v5 lite", "TPU v5e"), 197e12, 16e9, 819e9, 200e9, _GOOGLE),
    Chip("TPU v5p", ("TPU v5", "TPU v5p"), 459e12, 95 * GIB, 2765e9, 600e9, _GOOGLE),
    Chip("TPU v6e", ("TPU v6 lite", "TPU v6e"), 918e12, 32e9, 1638e9, 400e9, _GOOGLE),
    Chip("T4", ("Tesla T4",), 65e12, 16e9, 320e9, None, "NVIDIA data sheet"),
    Chip("V100 SXM2", ("Tesla V100-SXM2",), 125e12, 16e9, 900e9, 150e9, "NVIDIA data sheet"),
    Chip("A100 40 GB", ("NVIDIA A100-SXM4-40GB",), 312e12, 40e9, 1555e9, 300e9, "NVIDIA data sheet"),
    Chip("A100 80 GB", ("NVIDIA A100-SXM4-80GB",), 312e12, 80e9, 2039e9, 300e9, "NVIDIA data sheet"),
    Chip("L4", ("NVIDIA L4",), 121e12, 24e9, 300e9, None, _NVIDIA),
    Chip("H100 PCIe", ("NVIDIA H100 PCIe",), 756e12, 80e9, 2000e9, None, _NVIDIA),
    Chip("H100 SXM", ("NVIDIA H100 80GB HBM3",), 989e12, 80e9, 3350e9, 450e9, _NVIDIA),
    Chip("H200 SXM", ("NVIDIA H200",), 989e12, 141e9, 4800e9, 450e9, _NVIDIA),
)


def find_chip(device_kind: str) -> Chip | None:
    """The chip of a `jax.Device.device_kind`; None when it is not in the table."""
    # "NVIDIA L40S" is no "NVIDIA L4": what follows the matched beginning must not go on as a word
    matches = [
        (len(kind), chip)
        for chip in CHIPS
        for kind in chip.kinds
        if device_kind.startswith(kind) and not device_kind[len(kind) : len(kind) + 1].isalnum()
    ]
    # "TPU v5 something" is not known to be v5p
    exact = [m for m in matches if m[1].name != "TPU v5p" or device_kind in m[1].kinds]
    return max(exact)[1] if exact else None


def peak_flops(device: jax.Device | str) -> float | None:
    """Dense bfloat16 operations per second of one device; None when unknown (a CPU, a chip not listed).

    Args:
      device: or its `device_kind`.
    """
    chip = find_chip(device if isinstance(device, str) else device.device_kind)
    return None if chip is None else chip.flops


def mfu(step_flops: float, step_seconds: float, devices: int, peak: float | None) -> float | None:
    """Share of peak that a step reached, 0 to 1; None where peak is unknown or the time is not positive.

    Args:
      step_flops: operations of one step on all devices together (`talkjax/train/flops.py`).
      step_seconds: wall time of one step.
      devices: how many devices share the work.
      peak: of one device, see `peak_flops` and `measured_peak_flops`.
    """
    if peak is None or not step_seconds > 0:
        return None
    return step_flops / (step_seconds * devices * peak)


@functools.lru_cache(maxsize=4)
def measured_peak_flops(size: int = 1024, repeats: int = 5) -> float:
    """Operations per second of float32 matrix products on this process's first device, the best of `repeats`.

    A stand-in for a published peak on CPUs: takes under a second. Simulated devices share one CPU, so divide
    by their number.
    """
    side = jax.random.normal(jax.random.key(0), (size, size), jnp.float32)
    product = jax.jit(lambda x: x @ x)
    product(side).block_until_ready()
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        product(side).block_until_ready()
        best = min(best, time.perf_counter() - begin)
    return 2.0 * size**3 / best
