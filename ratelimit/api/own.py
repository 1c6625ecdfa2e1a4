"""Our own services beside Envoy's, put together from what those have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from protos.interop.kuadrant.v1 import kuadrant_pb2
from protos.ratelimit.v1 import admin_pb2, limiter_pb2
from ratelimit.api import admin, kuadrant, limiter
from ratelimit.api.admin import AdminApi
from ratelimit.api.admin_limits import AdminLimits
from ratelimit.api.desk import Desk
from ratelimit.api.envoy_rls import own_entries
from ratelimit.api.kuadrant import KuadrantApi
from ratelimit.api.limiter import LimiterApi
from ratelimit.dynamic_limit import DynamicLimitStore
from ratelimit.rules import Show
from ratelimit.settings import ApiSettings, LimiterSettings
from ratelimit.spenders import Spenders
from serving.calls import Method


class OwnApis:
    """What is served, and how it is described."""

    def __init__(  # noqa: PLR0913, PLR0917 - it is put together in one place
        self,
        desk: Desk,
        settings: ApiSettings,
        limiter_settings: LimiterSettings,
        spenders: Spenders | None,
        limits: DynamicLimitStore,
        refresh: Callable[[], Awaitable[None]],
        show: Show,
    ) -> None:
        """`refresh` has this replica read what changed in `limits`."""
        self.admin = AdminApi(desk, spenders, AdminLimits(desk, limits, refresh, show), show)
        self._kuadrant = KuadrantApi(desk, own_entries(limiter_settings))
        self._limiter = LimiterApi(
            desk, exchange_calls_max=settings.exchange_calls_max, plans_max=limiter_settings.plans_max
        )

    def methods(self) -> Sequence[Method]:
        """Return the methods that are answered in batches."""
        return [*self._limiter.methods(), *self._kuadrant.methods(), *self.admin.methods()]

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        """Return all others."""
        return [self._limiter.streams()]

    def described(self) -> Mapping[str, ServiceDescriptor]:
        """Return what reflection shows."""
        return {
            limiter.SERVICE: limiter_pb2.DESCRIPTOR.services_by_name["LimiterService"],
            admin.SERVICE: admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
            kuadrant.SERVICE: kuadrant_pb2.DESCRIPTOR.services_by_name["RateLimitService"],
        }
