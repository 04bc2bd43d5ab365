"""Arrays of a pickle file, read by a child process that executes nothing of it (`inert_pickle.py`)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from talkjax.assets.assembly import unusable
from talkjax.assets.model_manifest import missing

_READER = Path(__file__).with_name("inert_pickle.py")
_TIMEOUT_SECONDS = 600


def read_pickle(
    path: Path, keys: tuple[str, ...], needed: tuple[str, ...] | None = None
) -> dict[str, np.ndarray]:
    """Plain arrays under `keys` of a pickled dict, or of the dict in an npy file.

    Args:
      needed: keys that must be there; by default all.

    Raises:
      InputError: (`face_model_missing`, `face_model_source`) no such file, not a pickle, one that names
        anything beyond arrays, or a needed key is not in it.
    """
    needed = keys if needed is None else needed
    wanted = "a pickled dict of arrays" + (f" with {', '.join(needed)}" if needed else "")
    if not path.is_file():
        raise missing(path)
    with tempfile.TemporaryDirectory(prefix="talkjax-pickle-") as scratch:
        target = Path(scratch) / "arrays.npz"
        # -P: the folder of the program is not searched for packages
        command = [sys.executable, "-P", str(_READER), str(path.resolve()), str(target), *keys]
        try:
            done = subprocess.run(
                command,
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise unusable(path, "reading it does not end", wanted) from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"the reader ended with code {done.returncode}"]
            raise unusable(
                path,
                lines[-1][:300],
                wanted,
                "take the file from its makers; nothing of this one was executed",
            )
        with np.load(target, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    lacking = [key for key in needed if key not in arrays]
    if lacking:
        raise unusable(path, f"lacks {', '.join(lacking)}", wanted)
    return arrays
