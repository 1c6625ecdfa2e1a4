"""Seeing that files have changed.

    hint (inotify and its like, or the time to look) ──▶ fingerprint ──▶ still? ──▶ differs? ──▶ read

1. The fingerprint decides, a hint only makes us look sooner: what no hint tells of (network file
   systems, folders that did not exist, replaced mounts) is seen at the next look all the same.
2. Folders that do not exist yet are waited for: the nearest folder above is watched instead.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from watchfiles import awatch
from watchfiles.main import FileChange  # noqa: F401
