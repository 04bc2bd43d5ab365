"""Shared fixtures. Importing talkjax first puts the XLA work-around in place for every test."""

from __future__ import annotations

import os
import pathlib

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: two workers on two cores

import pytest

import talkjax  # noqa: F401  (sets XLA_FLAGS before JAX starts)

# isort: split
import jax

# on an accelerator float32 products are shortened by default, and tolerances here are those of float32
jax.config.update("jax_default_matmul_precision", "highest")

ROOT = pathlib.Path(__file__).resolve().parent.parent


def data_dir() -> pathlib.Path:
    """Where real clips live: TALKJAX_DATA, else the `shared/data` folder beside the project."""
    return pathlib.Path(os.environ.get("TALKJAX_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def target_clip() -> pathlib.Path:
    """The real target clip; skips, naming the missing file, where it is not at hand."""
    path = data_dir() / "target_31.mp4"
    if not path.exists():
        pytest.skip(f"real clip not at hand: {path.name} (set TALKJAX_DATA)")
    return path


# the other files of flow/ use what test_flow prepares and would only wait for it
LONGEST_FIRST = ("tests/flow/test_flow", "tests/cli/", "tests/tasks/", "tests/raster/", "tests/flow/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first, so that workers end together."""

    def rank(item: pytest.Item) -> int:
        return next((k for k, room in enumerate(LONGEST_FIRST) if item.nodeid.startswith(room)), 99)

    items.sort(key=rank)
