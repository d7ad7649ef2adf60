"""The garbage collector, tuned for a process that lives long and makes many short-lived objects."""

import gc

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
