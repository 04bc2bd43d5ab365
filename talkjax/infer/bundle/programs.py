"""The functions of one file, compiled: from their StableHLO, or lowered again where this JAX cannot read
it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import export

from talkjax.errors import InputError
from talkjax.infer.bundle.layout import PROGRAMS, BundleConfig

KNOWN_CALLS = frozenset({"shape_assertion", "tpu_custom_call", "Sharding"})
"""Calls out of StableHLO that our programs and JAX itself make. A program with any other is not run."""
_CALL = re.compile(r"""custom_call @"?([^"(]+)|call_target_name = "([^"]*)""")
_log = logging.getLogger(__name__)


def platform_name() -> str:
    """`cpu`, `cuda`, `rocm` or `tpu`, as `jax.export` names the default device."""
    name = jax.default_backend()
    if name == "gpu":
        version = jax.devices()[0].client.platform_version.lower()
        return "rocm" if "rocm" in version else "cuda"
    return name


class Programs:
    """Calls programs with their constants, which are moved to the device once.

    `lowered_again`: name -> why its StableHLO could not be used.
    """

    def __init__(
        self,
        config: BundleConfig,
        arrays: Mapping[str, Mapping[str, np.ndarray]],
        exported: Mapping[str, bytes],
        *,
        lower_again: bool = False,
    ):
        """Args:
        arrays: groups of constants.
        exported: program -> what `jax.export` made for this platform; may lack some.
        lower_again: use none of them.
        """
        self.config, self.arrays, self._exported = config, arrays, exported
        self._lower_again = lower_again
        self._constants = {group: jax.device_put(dict(values)) for group, values in arrays.items()}
        self._compiled: dict[str, Callable[..., Any]] = {}
        self.lowered_again: dict[str, str] = {}

    def __call__(self, name: str, *given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """(new state, outputs) of a program, given its state, if it has one, and its inputs."""
        groups, has_state = PROGRAMS[name]
        state = given[0] if has_state else {}
        arguments = [*(self._constants[group] for group in groups), *given]
        if name not in self._compiled:
            self._compiled[name] = self._compile(name, arguments)
        new, outputs = self._compiled[name](*arguments)
        return (new if has_state else state), outputs

    def _compile(self, name: str, arguments: list[Any]) -> Callable[..., Any]:
        try:
            if self._lower_again:
                raise LookupError("that was asked for")
            if name not in self._exported:
                raise LookupError("there is none for this platform")
            # its reader takes nothing but a bytearray
            exported = export.deserialize(bytearray(self._exported[name]))
            if strange := foreign_calls(exported.mlir_module()):
                raise ValueError(f"it calls {', '.join(sorted(strange))}")
            compiled: Callable[..., Any] = jax.jit(exported.call).lower(*arguments).compile()
            return compiled
        except Exception as error:  # the digests are right, so the versions are not
            why = (str(error) or type(error).__name__).splitlines()[0][:200]
        _log.warning("program %s is lowered again, its StableHLO is not used: %s", name, why)
        self.lowered_again[name] = why
        lowered: Callable[..., Any] = jax.jit(self._function(name)).lower(*arguments).compile()
        return lowered

    def _function(self, name: str) -> Callable[..., Any]:
        try:
            from talkjax.infer.bundle.functions import make_programs
        except ImportError as error:
            raise InputError(
                f"program {name} must be lowered again, which needs all of talkjax ({error})",
                fix="pip install talkjax with its dependencies",
                code="needs_talkjax",
            ) from error
        return make_programs(self.config, self.arrays, platform_name())[name]


def foreign_calls(module: str) -> set[str]:
    """Targets of custom calls in a StableHLO text that are not of `KNOWN_CALLS`."""
    found = {short or long for short, long in _CALL.findall(module)}
    return {name for name in found if name not in KNOWN_CALLS and not name.startswith("stablehlo.")}
