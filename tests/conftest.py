"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# Nothing passes or fails by the time it takes: the machine may be busy. Speed is shown by bench/.
settings.register_profile("house", deadline=None)
settings.load_profile("house")
