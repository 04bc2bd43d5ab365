"""talkjax: a video of a person and a voice in, that person speaking those words out.

Re-creates Yi et al., "Audio-driven Talking Face Video Generation with Learning-based
Personalized Head Pose" (arXiv 2002.10137) in JAX and Flax. The three verbs a person needs
are here: `prepare`, `finetune`, `generate`, and `evaluate` tells how well it went. `export`
puts a person into one file, which `load` opens. `track` writes what it sees of a face as files.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from talkjax import xla_flags

xla_flags.work_around_cpu_miscompile()

__version__ = "0.1.0"

if TYPE_CHECKING:
    from talkjax.api import doctor as doctor
    from talkjax.api import evaluate as evaluate
    from talkjax.api import export as export
    from talkjax.api import finetune as finetune
    from talkjax.api import generate as generate
    from talkjax.api import prepare as prepare
    from talkjax.api import track as track
    from talkjax.infer.bundle.runtime import load as load

_VERBS = ("doctor", "evaluate", "export", "finetune", "generate", "prepare", "track")
_MODULES = {**dict.fromkeys(_VERBS, "talkjax.api"), "load": "talkjax.infer.bundle.runtime"}
__all__ = ["__version__", "load", *_VERBS]


def __getattr__(name: str) -> Any:
    # The verbs pull in JAX, PyAV and OpenCV; `import talkjax` alone must stay quick.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'talkjax' has no attribute {name!r}")
