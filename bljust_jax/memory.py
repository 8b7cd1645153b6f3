"""Keeping memory that a step frees for the next one, instead of giving it back to the kernel."""

import ctypes

# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Makes glibc's `malloc` use one heap, which it never shrinks; has to be called before jax is imported.

    On CPU, XLA asks for a step's temporary buffers (some 200 MB for a small model) anew at every step. glibc maps and
    unmaps them each time, and the kernel fills every page with zeros again: a quarter of the step's time on two cores.

    Returns:
      Whether there is a glibc that took all settings. Elsewhere nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all([mallopt(_M_ARENA_MAX, 1), mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, -1)])
