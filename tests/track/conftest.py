"""Fixtures of the tracking tests: the real model files and decoded frames of the real clip."""

from __future__ import annotations

import pathlib

import av
import numpy as np
import pytest

from talkjax.assets.mediapipe import landmark_model_files
from talkjax.errors import InputError
from talkjax.track.landmark_models import LandmarkModels, build_models, jax_models


@pytest.fixture(scope="session")
def model_files() -> dict[str, pathlib.Path]:
    """The face models; fetched where they are not at hand, skipped with the reason otherwise."""
    try:
        return landmark_model_files()
    except InputError as error:
        pytest.skip(f"face models cannot be had: {error}")


@pytest.fixture(scope="session")
def models(model_files: dict[str, pathlib.Path]) -> LandmarkModels:
    """Both networks on the default backend of this machine."""
    return build_models(model_files["detector"].read_bytes(), model_files["mesh"].read_bytes())


@pytest.fixture(scope="session")
def pure_jax(model_files: dict[str, pathlib.Path]) -> LandmarkModels:
    """Both networks in pure JAX; compiling them takes seconds, so all tests share one."""
    return jax_models(model_files["detector"].read_bytes(), model_files["mesh"].read_bytes())


@pytest.fixture(scope="session")
def clip_frames(target_clip: pathlib.Path) -> list[np.ndarray]:
    """The first 48 frames of the real clip, uint8 RGB `[720 1280 3]`, decoded by PyAV alone."""
    frames = []
    with av.open(str(target_clip)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == 48:
                break
    return frames
