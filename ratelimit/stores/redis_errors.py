"""What a reply of Redis means for a charge."""

from __future__ import annotations

from ratelimit.errors import StoreError, StoreRefused, StoreTimeout, StoreUnavailable
from serving.redis_link import NotSent, RedisFault, Reply, ReplyError
from serving.redis_node import AWAY, code

# Nothing was done, and these were tried again as long as there was time.
_NOT_DONE = AWAY | {"MOVED", "ASK", "TRYAGAIN", "NOSCRIPT"}


def error_of(reply: Reply) -> StoreError | None:
    """Return the error that a reply stands for; None for an answer."""
    if isinstance(reply, NotSent):
        return StoreUnavailable(str(reply))
    if isinstance(reply, RedisFault):
        return StoreTimeout(str(reply))
    if isinstance(reply, ReplyError):
        return StoreUnavailable(str(reply)) if code(reply) in _NOT_DONE else StoreRefused(str(reply))
    return None
