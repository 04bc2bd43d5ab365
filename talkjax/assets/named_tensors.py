"""Tensors of a file by name: each is taken once, its shape and numbers checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from talkjax.errors import InputError

UNUSED = ("num_batches_tracked",)


def state_dict(content: Any) -> dict[str, np.ndarray]:
    """Tensors of what `read_torch_file` gave: itself, or what lies under `state_dict`; without `module.`."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        return {}
    return {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, np.ndarray) and not str(name).endswith(UNUSED)
    }


class Tensors:
    """Tensors that are still to be taken; `None` in a shape is any size.

    Attributes:
      refuse: the error of a file that is not what it should be, from what is wrong with it.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], refuse: Callable[[str], InputError]):
        self._left, self.refuse = dict(tensors), refuse

    def take(
        self,
        name: str,
        shape: tuple[int | None, ...],
        turned: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """float32, after `turned` of the shape.

        Raises:
          InputError: there is none of the name, or it has another shape or numbers that are not finite.
        """
        if name not in self._left:
            raise self.refuse(f"no {name}")
        value = self._left.pop(name)
        if value.ndim != len(shape):
            raise self.refuse(f"{name} has shape {value.shape}")
        value = np.ascontiguousarray(value if turned is None else turned(value), np.float32)
        if any(want is not None and want != have for want, have in zip(shape, value.shape, strict=True)):
            want = " x ".join("any" if n is None else str(n) for n in shape)
            raise self.refuse(f"{name} has shape {value.shape}, not {want}")
        if not np.isfinite(value).all():
            raise self.refuse(f"{name} is not finite")
        return value

    def names(self) -> list[str]:
        """In the file's order."""
        return list(self._left)

    def ndim(self, name: str) -> int:
        return self._left[name].ndim

    def shape(self, name: str) -> tuple[int, ...]:
        return self._left[name].shape

    def has(self, name: str) -> bool:
        return name in self._left

    def drop(self, *endings: str) -> None:
        """Forgets the tensors whose names end so."""
        self._left = {name: value for name, value in self._left.items() if not name.endswith(endings)}

    def finish(self) -> None:
        """Raises InputError where something was not taken."""
        if self._left:
            raise self.refuse(f"unknown tensor {next(iter(self._left))}")


def hwio(kernel: np.ndarray) -> np.ndarray:
    """PyTorch's [co ci kh kw] -> [kh kw ci co]."""
    return kernel.transpose(2, 3, 1, 0)


def transposed(matrix: np.ndarray) -> np.ndarray:
    """PyTorch's [co ci] -> [ci co]."""
    return matrix.T
