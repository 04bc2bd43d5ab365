"""`talkjax export --onnx`: each network of an identity as an ONNX file, checked with onnxruntime.

Needs the extra `onnx` (jax2onnx, onnxruntime). Only networks go out: sound features, rendering and retrieval
stay in talkjax.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from talkjax import __version__
from talkjax.errors import InputError, TalkjaxError
from talkjax.infer.mapping_session import Mapping
from talkjax.infer.paper_refiner import PaperRefiner
from talkjax.media.writer import replacing
from talkjax.nets.convs import any_platform
from talkjax.nets.mapping_default import DefaultMappingNet
from talkjax.tasks.mapping import make_net
from talkjax.tasks.mapping_personal import trunk
from talkjax.tasks.refiner_lite import N_CANDIDATES
from talkjax.track.durable import file_sha256, write_json

LARGEST_DIFFERENCE = 1e-4
SEQUENCE = 100  # frames that the mappings take at once; ONNX keeps their time fixed
INDEX = "networks.json"
FIX = "pip install 'talkjax[onnx]'"


@dataclasses.dataclass(frozen=True)
class Network:
    """A network with its weights: `function(*inputs)` gives a tuple of `outputs`.

    inputs: name -> shape behind the batch, float32 throughout.
    """

    name: str
    function: Callable[..., tuple[jax.Array, ...]]
    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]

    def example(self, batch: int = 1) -> list[np.ndarray]:
        """Inputs in [-1, 1], the same every time."""
        rng = np.random.default_rng(0)
        return [rng.uniform(-1, 1, (batch, *shape)).astype(np.float32) for shape in self.inputs.values()]


def networks(mapping: Mapping, refiner: Any) -> list[Network]:
    """All networks of a fine-tuned identity."""
    return [*mapping_networks(mapping), *refiner_networks(refiner)]


def mapping_networks(mapping: Mapping) -> list[Network]:
    """The mapping, and the sense of speech (logits of closed lips and of speech)."""
    speech = _trunk_network("speech", mapping.weights["general"], "flags")
    if mapping.preset == "paper":
        net, variables = make_net(mapping.n_exp), mapping.weights["variables"]

        def run(windows: jax.Array) -> tuple[jax.Array, ...]:
            return (net.apply(variables, windows),)  # type: ignore[return-value]

        return [Network("mapping", run, {"windows": (SEQUENCE, 28, 12)}, ("frames",)), speech]
    members = enumerate(mapping.weights["members"])
    return [*(_trunk_network(f"mapping_{k}", params, "out") for k, params in members), speech]


def _trunk_network(name: str, params: dict[str, Any], head: str) -> Network:
    """One head of a `DefaultMappingNet` over rows of normalised log-mel bands, four per frame."""
    width, front = params["front_1"]["bias"].shape[-1], params["front_0"]["bias"].shape[-1]
    net = DefaultMappingNet(heads=((head, params[head]["bias"].shape[-1]),), width=width, front=front)
    tree = {"params": {**trunk(params), head: params[head]}}

    def run(rows: jax.Array) -> tuple[jax.Array, ...]:
        return (net.apply(tree, rows)[0][head],)

    return Network(name, run, {"rows": (4 * SEQUENCE, 40)}, ("frames",))


def refiner_networks(refiner: Any) -> list[Network]:
    settings, task = refiner.task.settings, refiner.task
    size, n = settings.size, settings.n_values
    heads = ("color", "residual", "attention")
    channels = 9 if isinstance(refiner, PaperRefiner) else 3 * (3 + N_CANDIDATES - 1) + 3

    def generator(pictures: jax.Array, code: jax.Array) -> tuple[jax.Array, ...]:
        made = task.generator.apply(refiner.params, pictures, code)
        return tuple(getattr(made, name) for name in heads)

    out = [Network("refiner", generator, {"pictures": (size, size, channels), "code": (n,)}, heads)]
    if isinstance(refiner, PaperRefiner):

        def key(picture: jax.Array) -> tuple[jax.Array, ...]:
            feature = task.trunk.apply(refiner.trunk.params, (picture + 1) / 2)
            feature = (feature - refiner.trunk.mean) / refiner.trunk.scale
            return (task.encoder.apply(refiner.query, feature),)

        out.append(Network("memory_key", key, {"picture": (size, size, 3)}, ("key",)))
    return out


def export_networks(
    found: list[Network], folder: Path, about: dict[str, Any], *, overwrite: bool = False
) -> dict[str, float]:
    """Writes `NAME.onnx` of each network and `networks.json`.

    Returns:
      Network -> largest difference between onnxruntime and jit, batch 2.

    Raises:
      InputError: the extra is missing, or files are there already.
      TalkjaxError: onnxruntime computes something else.
    """
    convert = _converter()
    paths = [folder / f"{network.name}.onnx" for network in found]
    if not overwrite and (there := [path for path in [*paths, folder / INDEX] if path.exists()]):
        raise InputError(f"{there[0]} exists", fix="choose another --onnx, or add --overwrite", code="exists")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--onnx={folder} cannot be made: {error.strerror}", code="unwritable") from error
    differences, listed = {}, {}
    for network, path in zip(found, paths, strict=True):
        with replacing(path, str(path)) as temporary:
            convert(network, temporary)
            differences[network.name] = worst = difference(network, temporary)
            if not worst <= LARGEST_DIFFERENCE:
                raise TalkjaxError(f"{network.name}: onnxruntime differs from jit by {worst:.1e}")
        listed[network.name] = {
            "file": path.name,
            "sha256": file_sha256(path),
            "inputs": {name: ["batch", *shape] for name, shape in network.inputs.items()},
            "outputs": list(network.outputs),
            "difference": worst,
        }
    write_json(folder / INDEX, {**about, "talkjax": __version__, "networks": listed})
    return differences


def _converter() -> Callable[[Network, str], None]:
    try:
        import onnx
        import onnxruntime  # noqa: F401
        from jax2onnx import to_onnx
    except ImportError as error:
        raise InputError(f"--onnx needs {error.name}", fix=FIX, code="needs_onnx") from error

    def convert(network: Network, path: str) -> None:
        shapes = [("B", *shape) for shape in network.inputs.values()]
        with _quiet(), any_platform():
            model = to_onnx(
                network.function,
                shapes,
                model_name=network.name,
                input_names=list(network.inputs),
                output_names=list(network.outputs),
            )
            onnx.save(model, path)

    return convert


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The converter warns of every shape that it leaves open."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def session(path: str | os.PathLike[str]) -> Any:
    """An onnxruntime session on the CPU."""
    import onnxruntime

    return onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])


def difference(network: Network, path: str | os.PathLike[str]) -> float:
    """Largest difference of any output, over the largest output where that is above 1; batch 2."""
    given = network.example(2)
    made = session(path).run(list(network.outputs), dict(zip(network.inputs, given, strict=True)))
    wanted = jax.jit(network.function)(*map(jnp.asarray, given))
    worst = 0.0
    for ours, theirs in zip(made, wanted, strict=True):
        scale = max(float(np.abs(theirs).max()), 1.0)
        worst = max(worst, float(np.abs(ours - np.asarray(theirs)).max()) / scale)
    return worst


def read_index(folder: Path) -> dict[str, Any]:
    """What `networks.json` says."""
    return dict(json.loads((folder / INDEX).read_text(encoding="utf-8")))
