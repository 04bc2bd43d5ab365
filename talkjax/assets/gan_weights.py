"""The reference's released GAN (reference.md §5): `*_net_G.pth`, `*_net_D.pth`, `*_net_mem.pth`.

None is carried or fetched by this project, and none was at hand when this was written: layers are found by
what the description says of them. Layers of the generator bear `e1` ... `e8`, `d1` ... `d8` in their names,
or else come in that order; its heads are the 7 x 7 kernels, its AdaIN network the matrices; the
discriminator's layers come in order; in the memory's file the trunk is a ResNet-18, the query the matrix
beside it, and the bank's arrays have `key`, `value`, `age`, `index` in their names. Every shape is checked.
Nothing in the files is executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from talkjax.assets.named_tensors import Tensors, hwio, state_dict, transposed
from talkjax.assets.resnet18_weights import find_trunk, take_trunk
from talkjax.assets.torch_file import read_torch_file
from talkjax.errors import InputError

_LEVEL = re.compile(r"(?:^|[._])([ed])_?(\d)(?=[._])")
_NORM_STATISTICS = ("running_mean", "running_var")
WINDOW_CHANNELS = 9


def load_generator(path: Path) -> dict[str, Any]:
    """Parameters of `nets.PaperGenerator`; its width, levels and AdaIN network follow from their shapes.

    Raises:
      InputError: (`torch_file`, `gan_weights`) unsafe, damaged, another network, other shapes.
    """
    source = _source(path, "generator")
    # instance norms have no statistics of their own; some implementations store unused ones
    source.drop(*_NORM_STATISTICS)
    heads = [name for name in source.names() if source.ndim(name) == 4 and source.shape(name)[2:] == (7, 7)]
    kernels = [name for name in source.names() if source.ndim(name) == 4 and name not in heads]
    down, up = _levels(source, kernels)
    params: dict[str, Any] = {}
    width = source.shape(down[0])[0]
    widths = [min(2**k, 8) * width for k in range(len(down))]
    ups = [*widths[-2::-1], width]
    channels = WINDOW_CHANNELS
    for k, (name, features) in enumerate(zip(down, widths, strict=True)):
        params[f"Conv_{k}"] = _conv(source, name, (4, 4, channels, features))
        channels = features
    for k, (name, features) in enumerate(zip(up, ups, strict=True)):
        channels = channels if k == 0 else ups[k - 1] + widths[len(widths) - 1 - k]
        shape = (4, 4, channels, features)
        params[f"Conv_{len(down) + k}"] = _conv(source, name, shape, (2, 3, 0, 1))
    color, attention = (_head(source, heads, width, count) for count in (3, 1))
    params["heads"] = {part: np.concatenate([color[part], attention[part]], -1) for part in color}
    params["AdainCode_0"] = _adain(source, 2 * (sum(widths[1:-1]) + sum(ups)))
    source.finish()
    return {"params": params}


def load_discriminator(path: Path) -> dict[str, Any]:
    """Parameters of `nets.PatchDiscriminator` with three strided layers.

    Raises:
      InputError: see `load_generator`.
    """
    source = _source(path, "discriminator")
    source.drop(*_NORM_STATISTICS)  # the norm uses those of the batch at hand, as in the reference's training
    weights = _in_order([name for name in source.names() if name.endswith("weight")])
    convs = [name for name in weights if source.ndim(name) == 4]
    norms = [name.removesuffix("weight") for name in weights if source.ndim(name) == 1]
    if len(convs) != 5 or len(norms) != 3:
        raise source.refuse(f"{len(convs)} kernels and {len(norms)} norms, not 5 and 3")
    width, channels = source.shape(convs[0])[0], WINDOW_CHANNELS + 3
    params: dict[str, Any] = {}
    for k, name in enumerate(convs):
        features = 1 if k == 4 else width * min(2**k, 8)
        params[f"Conv_{k}"] = _conv(source, name, (4, 4, channels, features), biased=k in (0, 4))
        channels = features
    for k, name in enumerate(norms):
        shape = (width * min(2 ** (k + 1), 8),)
        params[f"BatchStatNorm_{k}"] = {
            "scale": source.take(f"{name}weight", shape),
            "bias": source.take(f"{name}bias", shape),
        }
    source.finish()
    return {"params": params}


def load_memory(path: Path) -> dict[str, Any]:
    """`{"query": ..., "trunk": {"params": ...}, "bank": {keys, values, age, source_id}}`; the last two where
    the file has them.

    Raises:
      InputError: see `load_generator`.
    """
    source = _source(path, "memory network")
    found: dict[str, Any] = {}
    prefix = find_trunk(source)
    if prefix is not None:
        found["trunk"] = {"params": take_trunk(source, prefix)}
    bank = _bank(source)
    if bank:
        found["bank"] = bank
    matrices = [name for name in source.names() if source.ndim(name) == 2]
    if len(matrices) != 1:
        raise source.refuse(f"{len(matrices)} matrices beside trunk and bank, not the query's alone")
    found["query"] = {"params": {"Dense_0": _dense(source, matrices[0])}}
    source.finish()
    if bank and bank["keys"].shape[1] != found["query"]["params"]["Dense_0"]["bias"].size:
        raise source.refuse(f"{matrices[0]} does not give keys of {bank['keys'].shape[1]} numbers")
    return found


def _source(path: Path, part: str) -> Tensors:
    return Tensors(_flat(read_torch_file(path)), partial(_other_network, path, part))


def _flat(content: Any) -> dict[str, np.ndarray]:
    """Tensors of a state dict, and of dicts inside a dict (the memory's network beside its bank)."""
    if not isinstance(content, Mapping):
        return {}
    flat = state_dict(content)
    for name, inner in content.items():
        if isinstance(inner, Mapping) and name != "state_dict":
            flat |= {f"{name}.{key}": value for key, value in state_dict(inner).items()}
    return flat


def _other_network(path: Path, part: str, why: str) -> InputError:
    return InputError(
        f"{path.name} is no {part} of the reference's GAN ({why})",
        expected="a state dict of unetac_adain_256, its 70 x 70 PatchGAN, or its memory network",
        fix="give the folder with *_net_G.pth, *_net_D.pth and *_net_mem.pth of one epoch",
        code="gan_weights",
    )


def _levels(source: Tensors, kernels: list[str]) -> tuple[list[str], list[str]]:
    """Names of the kernels that halve and that double the picture, outermost level first and last."""
    marks = {name: match for name in kernels if (match := _LEVEL.search(name))}
    if not marks:  # no names to go by: the first half goes down
        half = len(kernels) // 2
        down, up = kernels[:half], kernels[half:]
    else:
        by_level = {(match[1], int(match[2])): name for name, match in marks.items()}
        last = max(number for _, number in by_level)
        for at in ((side, k) for side in "ed" for k in range(1, last + 1)):
            if at not in by_level:
                raise source.refuse(f"no kernel of layer {at[0]}{at[1]}")
        down, up = ([by_level[side, k] for k in range(1, last + 1)] for side in "ed")
        if len(kernels) != 2 * last:
            raise source.refuse(f"{len(kernels)} kernels for {last} levels")
    if len(down) < 2 or len(down) != len(up):
        raise source.refuse(f"{len(kernels)} kernels of a U-Net")
    return down, up


def _conv(
    source: Tensors,
    name: str,
    shape: tuple[int, ...],
    axes: tuple[int, ...] | None = None,
    *,
    biased: bool = True,
) -> dict[str, np.ndarray]:
    """A convolution whose kernel has this name; `axes` turn a transposed one's [ci co kh kw]."""
    turned = hwio if axes is None else partial(np.transpose, axes=axes)
    layer = {"kernel": source.take(name, shape, turned)}
    if biased:
        layer["bias"] = source.take(_bias_of(name), (shape[-1],))
    return layer


def _bias_of(name: str) -> str:
    return name.removesuffix("weight") + "bias"


def _dense(source: Tensors, name: str) -> dict[str, np.ndarray]:
    kernel = source.take(name, (None, None), transposed)
    return {"kernel": kernel, "bias": source.take(_bias_of(name), (kernel.shape[-1],))}


def _head(source: Tensors, heads: list[str], width: int, count: int) -> dict[str, np.ndarray]:
    found = [name for name in heads if source.has(name) and source.shape(name)[0] == count]
    if len(found) != 1:
        raise source.refuse(f"{len(found)} heads of {count} channels, 7 x 7")
    return _conv(source, found[0], (7, 7, width, count))


def _adain(source: Tensors, total: int) -> dict[str, Any]:
    """The matrices in their order, which the last number in each name says; the last one gives `total`."""
    names = _in_order([name for name in source.names() if source.ndim(name) == 2])
    if len(names) not in (2, 3):
        raise source.refuse(f"{len(names)} matrices of the AdaIN network, not 3")
    layers = [_dense(source, name) for name in names]
    size = layers[0]["kernel"].shape[0]
    for name, layer in zip(names, layers, strict=True):
        if layer["kernel"].shape[0] != size:
            raise source.refuse(f"{name} takes {layer['kernel'].shape[0]} numbers, not {size}")
        size = layer["kernel"].shape[1]
    if size != total or (len(names) == 3 and layers[0]["kernel"].shape[1] != total):
        raise source.refuse(f"{names[-1]} gives {size} numbers, not {total}")
    return {f"Dense_{k}": layer for k, layer in enumerate(layers)}


def _in_order(names: list[str]) -> list[str]:
    """By the last number in each name where all have one, else as they come."""
    numbers = [re.findall(r"\d+", name) for name in names]
    if not all(numbers):
        return names
    return [name for _, name in sorted(zip((int(n[-1]) for n in numbers), names, strict=True))]


_BANK = {"keys": ("key", 2), "values": ("value", 2), "age": ("age", 1), "source_id": ("index", 1)}


def _bank(source: Tensors) -> dict[str, np.ndarray]:
    """The stored keys and values, where the file has them."""
    named: dict[str, str] = {}
    for part, (word, ndim) in _BANK.items():
        pattern = re.compile(rf"(?:.*[._])?{word}s?(?:_[a-z]*)?")
        hits = [name for name in source.names() if pattern.fullmatch(name) and source.ndim(name) == ndim]
        if len(hits) > 1:
            raise source.refuse(f"two arrays of {part}: {hits[0]}, {hits[1]}")
        if hits:
            named[part] = hits[0]
    if not named:
        return {}
    for part in ("keys", "values"):
        if part not in named:
            raise source.refuse(f"a bank without {part}")
    keys = source.take(named["keys"], (None, None))
    n = len(keys)
    bank = {"keys": keys, "values": source.take(named["values"], (n, None))}
    for part in ("age", "source_id"):
        bank[part] = source.take(named[part], (n,)) if part in named else np.zeros(n, np.float32)
    return bank | {"source_id": bank["source_id"].astype(np.int32)}
