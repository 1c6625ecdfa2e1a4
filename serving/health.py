"""Whether this process should be sent calls, as one answer over named components.

The gRPC health service and /healthcheck both ask here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping


class Health:
    """Components that are up or down; serving is when all are up."""

    def __init__(self) -> None:
        self._components: dict[str, bool] = {}
        self._changed = asyncio.Event()
        self._is_closed = False

    @property
    def is_serving(self) -> bool:
        """Whether every component is up."""
        return all(self._components.values())

    @property
    def components(self) -> Mapping[str, bool]:
        """Every component by name, and whether it is up."""
        return dict(self._components)

    def up(self, component: str) -> None:
        """Say that a component works."""
        self._set(component, is_up=True)

    def down(self, component: str) -> None:
        """Say that a component does not work (yet)."""
        self._set(component, is_up=False)

    def close(self) -> None:
        """End every `changes`: those who watch must go before a server can stop in peace."""
        self._is_closed = True
        self._wake()

    async def changes(self) -> AsyncIterator[bool]:
        """Yield whether we are serving, now and at each change, until closed; changes in quick succession may be one."""
        last: bool | None = None
        while not self._is_closed:
            changed = self._changed
            if self.is_serving is not last:
                last = self.is_serving
                yield last
            else:
                await changed.wait()

    def _set(self, component: str, *, is_up: bool) -> None:
        if self._components.get(component) is not is_up:
            self._components[component] = is_up
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
