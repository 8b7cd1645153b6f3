"""Packing: short examples share a row, so that rows are of nearly the same length."""

import numpy as np


def pack(sizes: np.ndarray, capacity: int, random: np.random.Generator) -> np.ndarray:
    """Packs items into rows, in random order, each into the fullest row that still has room for it.

    Args:
      sizes: size of each item `[items]`, positive integers.
      capacity: largest sum of the sizes in a row; larger items stay alone, so with 0 all do.
      random: draws the order of the items, and of those within a row.

    Returns:
      The items of each row `[rows, pieces]` int32, each item once, -1 for no piece.
    """
    if not capacity:
        return np.arange(len(sizes), dtype=np.int32)[:, None]
    order = random.permutation(len(sizes))
    row_of = np.empty(len(sizes), np.int64)
    row_of[order] = _best_fit(sizes[order].tolist(), capacity)
    # Shuffled again, as otherwise rows would end with what filled the last gap.
    order = random.permutation(len(sizes))
    order = order[np.argsort(row_of[order], kind='stable')]
    pieces = np.bincount(row_of)
    starts = np.cumsum(pieces) - pieces
    rows = np.full((len(pieces), pieces.max()), -1, np.int32)
    rows[row_of[order], np.arange(len(order)) - starts[row_of[order]]] = order
    return rows


def _best_fit(sizes: list[int], capacity: int) -> list[int]:
    """The row of each item."""
    # The rows with each amount of room left; bit i of `rooms` tells whether there is a row with room i.
    waiting: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = count = 0
    assigned = []
    for size in sizes:
        roomy = rooms >> size
        if roomy:
            room = size + (roomy & -roomy).bit_length() - 1
            row = waiting[room].pop()
            if not waiting[room]:
                rooms ^= 1 << room
        else:
            room, row = capacity, count
            count += 1
        room -= size
        if room > 0:
            waiting[room].append(row)
            rooms |= 1 << room
        assigned.append(row)
    return assigned
