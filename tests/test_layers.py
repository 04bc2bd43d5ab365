"""Imports go one way only, and the pure rooms open nothing: read from the source with `ast`."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "talkjax"

FIRST = {"types", "config", "numerics", "materialize", "rng", "errors", "progress", "results", "xla_flags"}
_MODELS = FIRST | {"audio", "raster", "face"}
_ALL_BUT_TRAIN = _MODELS | {
    "nets",
    "losses",
    "tasks",
    "media",
    "assets",
    "track",
    "data",
    "infer",
    "evaluate",
}

_FINETUNING = {"train.finetune", "train.loop", "train.checkpoint", "train.params_file"}
"""What personal fine-tuning is made of, and how its weights are read; not meshes, sharding, long runs."""

ALLOWED: dict[str, set[str]] = {
    **dict.fromkeys(FIRST, FIRST),
    "audio": FIRST,
    "raster": FIRST,
    "media": FIRST,
    "assets": FIRST | {"face"},
    "face": FIRST | {"audio", "raster"},
    "nets": _MODELS,
    "losses": _MODELS,
    "tasks": _MODELS | {"nets", "losses"},
    "train": _MODELS | {"nets", "losses", "tasks", "media.image"},
    "data": _ALL_BUT_TRAIN,
    "evaluate": _ALL_BUT_TRAIN,
    "track": _ALL_BUT_TRAIN | {"train.finetune", "train.params_file"},
    "infer": _ALL_BUT_TRAIN | _FINETUNING,
    "api": _ALL_BUT_TRAIN | {"train"},
    "cli": _ALL_BUT_TRAIN | {"train", "api"},
}
"""Room (or single module) -> what it may import beside itself. `a.b` allows one module of a room."""

ONLY_BRIDGE_TO_RASTER = "face.render"
PURE_ROOMS = ("audio", "raster", "face", "nets", "losses", "tasks")
IMPURE_MODULES = {
    "io",
    "logging",
    "os",
    "pathlib",
    "shutil",
    "subprocess",
    "sys",
    "tempfile",
    "time",
    "absl",
    "tqdm",
}
IMPURE_CALLS = {"open", "print", "input"}


def _modules() -> dict[str, ast.Module]:
    """Dotted name inside the package (`face.pose`; `face` for its `__init__`) -> parsed source."""
    modules = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return modules


def _imports(name: str, tree: ast.Module) -> set[str]:
    """Modules of talkjax that a module imports anywhere (also inside functions), without the `talkjax.`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"talkjax.{name}, line {node.lineno}: relative import"
            # `from talkjax import face` and `from talkjax.face import pose` name modules by their last part
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {full.removeprefix("talkjax.") for full in names if full.startswith("talkjax.")}
    return found - {"__version__"}


def _is_allowed(room: str, target: str) -> bool:
    parts = target.split(".")
    return parts[0] == room or parts[0] in ALLOWED[room] or ".".join(parts[:2]) in ALLOWED[room]


def violations(modules: dict[str, ast.Module]) -> list[str]:
    """`a imports b` for every import that the table does not allow."""
    bad = []
    for name, tree in modules.items():
        room = name.split(".")[0]
        if not room:  # talkjax/__init__.py: the package's front door
            continue
        if room not in ALLOWED:
            bad.append(f"{name} is in no room of the table")
            continue
        for target in sorted(_imports(name, tree)):
            if not _is_allowed(room, target):
                bad.append(f"{name} imports {target}")
            if room == "face" and target.split(".")[0] == "raster" and name != ONLY_BRIDGE_TO_RASTER:
                bad.append(f"{name} imports {target}: only {ONLY_BRIDGE_TO_RASTER} may")
    return bad


def impurities(modules: dict[str, ast.Module]) -> list[str]:
    """What pure rooms import or call to reach a file, a clock, a log or a flag."""
    bad = []
    for name, tree in modules.items():
        if name.split(".")[0] not in PURE_ROOMS:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in IMPURE_CALLS
            ):
                bad.append(f"{name} calls {node.func.id}, line {node.lineno}")
                continue
            else:
                continue
            bad += [f"{name} imports {full}" for full in names if full.split(".")[0] in IMPURE_MODULES]
    return bad


def test_imports_go_one_way():
    assert violations(_modules()) == []


def test_pure_rooms_open_nothing():
    assert impurities(_modules()) == []


@pytest.mark.parametrize(
    ("name", "source", "count"),
    [
        ("audio.mfcc", "from talkjax.numerics import matmul", 0),
        ("audio.mfcc", "from talkjax.face.pose import rotation", 1),
        ("nets.a", "def f():\n    from talkjax.losses import b", 1),
        ("media.reader", "import talkjax.face", 1),
        ("track.prepare", "from talkjax.train import finetune", 0),
        ("track.prepare", "from talkjax.train.finetune import run", 0),
        ("track.prepare", "from talkjax.train.checkpoint import save", 1),
        ("infer.personal", "from talkjax.train.checkpoint import save", 0),
        ("infer.personal", "from talkjax.train.sharding import mesh", 1),
        ("evaluate.run", "from talkjax.train.finetune import run", 1),
        ("infer.generate", "from talkjax import cli", 1),
        ("infer.generate", "from talkjax import __version__", 0),
        ("face.pose", "from talkjax.raster.camera import project", 1),
        ("face.render", "from talkjax.raster.camera import project", 0),
        ("attic.old", "", 1),
    ],
)
def test_the_table_catches_what_it_should(name, source, count):
    assert len(violations({name: ast.parse(source)})) == count


def test_impure_code_is_caught():
    source = "import time\nfrom os import path\nopen('x')\nimport jax"
    assert len(impurities({"nets.a": ast.parse(source)})) == 3
    assert impurities({"media.reader": ast.parse(source)}) == []


def test_no_import_starts_a_backend():
    """A process on many hosts is told of the others, and of its devices, after its imports and before JAX."""
    names = [f"talkjax.{name}" for name in _modules() if name and not name.endswith("__main__")]
    names += ["launch.train", "launch.mapping_general", "launch.refiner_general"]
    code = "\n".join(
        [
            "import importlib",
            "from jax._src import xla_bridge",
            f"for name in {sorted(names)!r}:",
            "    importlib.import_module(name)",
            "    assert not xla_bridge.backends_are_initialized(), name",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
