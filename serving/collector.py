"""How often Python looks for cycles in a process that answers calls.

Measured by `python -m bench handler`, batches of 256, two descriptors, in memory: at Python's own settings a third of
a call's time goes to a collector that finds nothing, since a batch under way has more objects than the 700 that start it;
and a full collection walks every plan and counter, which callers wait for.
"""

from __future__ import annotations

import gc

# More new objects than the batches under way have. The third: full collections, which only a process that leaks needs.
_THRESHOLDS = (50_000, 20, 100)


def settle() -> None:
    """Collect rarely from now on, and never again what has been imported; for a process that is about to serve."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
