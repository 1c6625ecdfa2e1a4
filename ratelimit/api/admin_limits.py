"""The part of AdminService that changes limits while they are in force.

SetLimit ──▶ which limit of which rule? ──▶ has it a ceiling, and is this below? ──▶ store ──▶ read anew, here at once
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protos.ratelimit.v1 import admin_pb2 as wire
from protos.ratelimit.v1 import limiter_pb2
from ratelimit.api.desk import Desk
from ratelimit.api.limiter_messages import read_descriptors, read_milliseconds
from ratelimit.draw import HITS_MAX
from ratelimit.dynamic_limit import PAGE_MAX, DynamicLimit, DynamicLimitStore, LimitsFull, Place, VersionConflict
from ratelimit.errors import StoreError, StoreRefused, StoreTimeout
from ratelimit.limits import Limit
from ratelimit.rules import Rule, Show
from ratelimit.windows import Every
from serving.calls import Failure, StatusCode
from serving.refusal import Refused
from serving.settings import seconds


@dataclass(frozen=True, slots=True)
class _Target:
    """One limit of a rule, for one descriptor."""

    place: Place
    rule: Rule
    limit: Limit


class AdminLimits:
    """The methods about dynamic limits."""

    def __init__(
        self, desk: Desk, store: DynamicLimitStore, refresh: Callable[[], Awaitable[None]], show: Show
    ) -> None:
        self._desk = desk
        self._store = store
        self._refresh = refresh
        self._show = show

    async def set(self, request: wire.SetLimitRequest, deadline: float) -> wire.SetLimitResponse:
        """Answer SetLimit."""
        target = self._target(request)
        where = f"{target.rule.where.file}:{target.rule.where.line}"
        ceiling = target.limit.ceiling
        if not request.HasField("amount"):
            raise Refused.field("amount", "is missing")
        if not ceiling:
            detail = f"the rule at {where} has no ceiling, so its amount stands as it is written"
            raise Refused(Failure(StatusCode.FAILED_PRECONDITION, detail))
        if request.amount > ceiling:
            raise Refused.field("amount", f"{request.amount}, at most {ceiling} is taken (ceiling, {where})")
        ttl_ms = read_milliseconds("ttl", request.ttl)
        if request.HasField("ttl") and not ttl_ms:
            raise Refused.field("ttl", "is 0")
        try:
            limit = await self._store.put(
                target.place.name,
                request.amount,
                ttl_ms=ttl_ms,
                expected_version=request.expected_version if request.HasField("expected_version") else None,
                deadline=deadline,
            )
        except LimitsFull:
            detail = "as many limits as may be were changed already (DYNAMIC_LIMITS_MAX)"
            raise Refused(Failure(StatusCode.RESOURCE_EXHAUSTED, detail)) from None
        except (VersionConflict, StoreError) as error:
            raise Refused(_failure_of(error)) from None
        await self._refresh()
        return wire.SetLimitResponse(limit=self._written(limit, target.place))

    async def clear(self, request: wire.ClearLimitRequest, deadline: float) -> wire.ClearLimitResponse:
        """Answer ClearLimit."""
        expected = request.expected_version if request.HasField("expected_version") else None
        try:
            version = await self._store.clear(self._cleared(request).name, expected_version=expected, deadline=deadline)
        except (VersionConflict, StoreError) as error:
            raise Refused(_failure_of(error)) from None
        await self._refresh()
        return wire.ClearLimitResponse(cleared=version > 0, version=version)

    async def list(self, request: wire.ListLimitsRequest, deadline: float) -> wire.ListLimitsResponse:
        """Answer ListLimits: a page of the store is a page of the answer, less what is of other domains."""
        after = _read_token(request.page_token)
        size = min(request.page_size or PAGE_MAX, PAGE_MAX)
        try:
            page = await self._store.read(after, most=size, deadline=deadline)
        except StoreError as error:
            raise Refused(_failure_of(error)) from None
        response = wire.ListLimitsResponse(version=page.version)
        for limit in (change.limit for change in page.changes):
            if limit is not None:
                place = Place.read(limit.name)
                if request.domain in {"", place.domain}:
                    response.limits.append(self._written(limit, place))
        if page.last < page.version:
            response.next_page_token = str(page.last)
        return response

    # -- which limit ---------------------------------------------------------------------------

    def _target(self, request: wire.SetLimitRequest | wire.ClearLimitRequest) -> _Target:
        descriptors = read_descriptors([request.descriptor], None, default=0)
        rule = self._desk.plan_of_rules(request.domain, descriptors).steps[0].rule
        if rule is None:
            raise Refused(Failure(StatusCode.NOT_FOUND, "descriptor: no rule limits it"))
        if not rule.limits:
            raise Refused(Failure(StatusCode.FAILED_PRECONDITION, f"{rule.where.file}:{rule.where.line}: is unlimited"))
        fitting = [limit for limit in rule.limits if _is_meant(limit, request.window, request.algorithm)]
        if len(fitting) != 1:
            known = ", ".join(f"{limit.span} ({limit.algorithm.value})" for limit in rule.limits)
            raise Refused.field("window", f"does not name one of the rule's limits, which are {known}")
        match = self._desk.in_force().domains[request.domain].match(descriptors[0].entries)
        counted = match.counted if match is not None else ()
        return _Target(Place.of(request.domain, counted, fitting[0]), rule, fitting[0])

    def _cleared(self, request: wire.ClearLimitRequest) -> Place:
        """Return what is to be cleared, also where the rules have no such limit any more."""
        try:
            return self._target(request).place
        except Refused:
            if not (request.domain and request.window and request.descriptor.entries):
                raise
        entries = tuple((entry.key, entry.value) for entry in request.descriptor.entries)
        return Place(request.domain, entries, request.window, request.algorithm or "fixed_window")

    def _written(self, limit: DynamicLimit, place: Place) -> wire.DynamicLimit:
        entries = [limiter_pb2.Entry(key=key, value=self._show(value) if value else "") for key, value in place.entries]
        written = wire.DynamicLimit(
            domain=place.domain,
            entries=entries,
            window=place.window,
            algorithm=place.algorithm,
            amount=limit.amount,
            version=limit.version,
        )
        if limit.ends_ms:
            written.end.FromMilliseconds(limit.ends_ms)
        domain = self._desk.in_force().domains.get(place.domain)
        match = domain.match(place.entries) if domain is not None else None
        for own in match.rule.limits if match is not None else ():
            if match is not None and own.ceiling and Place.of(place.domain, match.counted, own) == place:
                written.rule, written.own_amount, written.ceiling = match.rule.path, own.amount, own.ceiling
        return written


def _is_meant(limit: Limit, window: str, algorithm: str) -> bool:
    if algorithm not in {"", limit.algorithm.value}:
        return False
    return window in {"", limit.span} or _seconds(limit) == _duration(window)


def _seconds(limit: Limit) -> float:
    """Return the length of a window; -1 where they differ."""
    if limit.windowing is None:
        return limit.unit.seconds if limit.unit is not None else -1
    return limit.windowing.seconds if isinstance(limit.windowing, Every) else -1


def _duration(text: str) -> float | None:
    try:
        value = seconds(text)
    except ValueError:
        return None
    return value if isinstance(value, int | float) else None


def _read_token(token: str) -> int:
    if not token:
        return 0
    if not token.isdecimal() or int(token) > HITS_MAX:
        raise Refused.field("page_token", "is none that a page before gave")
    return int(token)


def _failure_of(error: VersionConflict | StoreError) -> Failure:
    if isinstance(error, VersionConflict):
        there = f"has version {error.version} by now" if error.version else "is not there"
        return Failure(StatusCode.ABORTED, f"expected_version: the limit {there}")
    if isinstance(error, StoreTimeout):
        return Failure(StatusCode.DEADLINE_EXCEEDED, f"{error}; it may have been changed")
    is_refused = isinstance(error, StoreRefused)
    return Failure(StatusCode.FAILED_PRECONDITION if is_refused else StatusCode.UNAVAILABLE, str(error))
