"""Trees of arrays as flat dicts `a/b/c -> array`, and back."""

from __future__ import annotations

from typing import Any

import jax


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves by path, in the order of `jax.tree.leaves`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(_word(key) for key in path): leaf for path, leaf in leaves}


def _word(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    raise TypeError(f"no name for {key!r}")


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts; tuples come back as dicts with the keys 0, 1, ..."""
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *folders, last = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[last] = leaf
    return tree
