"""The memory's rules in plain loops over numpy arrays (reference.md §5.3; batch rule: nets/memory.py)."""

from __future__ import annotations

import numpy as np

SAME_VALUE = 0.98
MARGIN = 0.3


def unit(x):
    return x / np.linalg.norm(x)


def same(a, b):
    return float(unit(a) @ unit(b)) > SAME_VALUE


def holds(bank, slot, value):
    return bank["source_id"][slot] != -1 and same(bank["values"][slot], value)


def nearest_slots(bank, q):
    """Slots by falling cosine with q; equal scores: the lower slot first."""
    scores = [float(key @ unit(q)) for key in bank["keys"]]
    return sorted(range(len(scores)), key=lambda slot: (-scores[slot], slot)), scores


def update_batch(bank, q, values, noise, source):
    """One call with all rows at once. Returns the new bank, and per row (hit, slot or -1)."""
    before = {name: np.array(array) for name, array in bank.items()}
    after = {name: np.array(array) for name, array in bank.items()}
    n = len(before["age"])
    after["age"] = before["age"] + 1
    priority = after["age"] + noise

    nearest = [nearest_slots(before, row)[0][0] for row in q]
    hit = [holds(before, slot, value) for slot, value in zip(nearest, values, strict=True)]
    touched = {slot for slot, was_hit in zip(nearest, hit, strict=True) if was_hit}
    free = sorted((s for s in range(n) if s not in touched), key=lambda s: (-priority[s], s))

    target, misses = [], 0
    for slot, was_hit in zip(nearest, hit, strict=True):
        if was_hit:
            target.append(slot)
        else:
            target.append(free[misses % len(free)] if free else -1)
            misses += 1

    for row, slot in enumerate(target):  # row order, so the last row wins
        if slot == -1:
            continue
        after["age"][slot] = 0
        if hit[row]:
            after["keys"][slot] = unit(before["keys"][slot] + unit(q[row]))
        else:
            after["keys"][slot] = unit(q[row])
            after["values"][slot] = values[row]
            after["source_id"][slot] = source[row]
    report = [(hit[row], slot if slot not in target[row + 1 :] else -1) for row, slot in enumerate(target)]
    return after, report


def update_one(bank, q, value, noise, source):
    """The reference's rule for its batch of one, written on its own."""
    keys, values = np.array(bank["keys"]), np.array(bank["values"])
    age, source_id = np.array(bank["age"]) + 1, np.array(bank["source_id"])
    top = nearest_slots(bank, q)[0][0]
    if holds(bank, top, value):
        keys[top] = unit(keys[top] + unit(q))
        age[top] = 0
    else:
        oldest = int(np.argmax(age + noise))
        keys[oldest], values[oldest], source_id[oldest], age[oldest] = unit(q), value, source, 0
    return {"keys": keys, "values": values, "age": age, "source_id": source_id}


def loss(bank, q, values, top_k, margin=MARGIN):
    """Mean hinge over rows; scores on the wrong side of the mask count as 0."""
    total = 0.0
    for row, value in zip(q, values, strict=True):
        order, scores = nearest_slots(bank, row)
        positive, negative = [], []
        for slot in order[:top_k]:
            is_same = holds(bank, slot, value)
            positive.append(scores[slot] if is_same else 0.0)
            negative.append(0.0 if is_same else scores[slot])
        total += max(0.0, max(negative) - max(positive) + margin)
    return total / len(q)
