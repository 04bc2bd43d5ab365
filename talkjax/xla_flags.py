"""The one XLA flag this project sets, and why.

jaxlib 0.10.x on CPU miscompiles relu -> {channel pad, depthwise -> 1x1 conv} -> add -> max-pool:
a jitted convolution net gives other numbers than the same net run op by op. Switching off the pass
`dot-library-rewriter` cures it and costs nothing measurable. The flag is read when JAX starts, so
this module must run before JAX's first computation; it imports no JAX itself.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib import metadata

_PASS = "dot-library-rewriter"


def _affected(version: str) -> bool:
    """Whether this jaxlib version is one that miscompiles (0.7 is right, 0.10 is not)."""
    parts = version.split(".")
    try:
        release = (int(parts[0]), int(parts[1]))
    except (IndexError, ValueError):
        return True
    return release >= (0, 8)


def _backend_started() -> bool:
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bool(bridge is not None and getattr(bridge, "_backends", None))


def work_around_cpu_miscompile() -> None:
    """Adds the pass switch to `XLA_FLAGS`; warns when JAX was already running without it."""
    try:
        version = metadata.version("jaxlib")
    except metadata.PackageNotFoundError:
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if not _affected(version) or _PASS in flags:
        return
    key = "--xla_disable_hlo_passes="
    words = flags.split()
    for i, word in enumerate(words):
        if word.startswith(key):
            words[i] = f"{word},{_PASS}"
            break
    else:
        words.append(key + _PASS)
    os.environ["XLA_FLAGS"] = " ".join(words)
    if _backend_started():
        warnings.warn(
            "JAX was running before talkjax was imported, so the work-around for a wrong-numbers bug of "
            f"jaxlib {version} on CPU is not active: import talkjax first, or set XLA_FLAGS={key}{_PASS}",
            RuntimeWarning,
            stacklevel=3,
        )
