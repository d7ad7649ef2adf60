"""Memory of a process that lives long: the garbage collector tuned, and what only the start needed given back."""

import ctypes
import gc
from contextlib import suppress

_YOUNG_OBJECTS = 50_000
_YOUNG_COLLECTIONS = 50
_MIDDLE_COLLECTIONS = 100


def tune_collector() -> None:
    """Call once everything is opened: what lives now lives for ever and is never looked at again.

    With the defaults a full collection walks all of it every few hundred requests, in the middle of one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, _YOUNG_COLLECTIONS, _MIDDLE_COLLECTIONS)
    # glibc keeps what was freed; other C libraries have no such call, and need none.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
