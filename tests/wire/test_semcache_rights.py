"""Who may do what with the cache over gRPC, on both transports."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.app import NAME
from semcache.settings import SemcacheGrpcSettings
from tests.fakes.semcache_service import (
    NAMESPACES,
    TENANT_TOKEN,
    TOKEN,
    Served,
    bearer,
    lookup,
    serving,
    settings,
    store,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(params=["front", "grpcio"], scope="module", loop_scope="module")
async def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder: Path = tmp_path_factory.mktemp("semcache")
    listener = SemcacheGrpcSettings(grpc_host="127.0.0.1", grpc_port=0, transport=request.param)
    async with serving(settings(folder, NAMESPACES, grpc=listener)) as served:
        yield served


RIGHTS: dict[str, tuple[Any, str, str]] = {
    "anyone may look up": (lookup("x y z"), "", "OK"),
    "nobody may store without a token": (store("x y z"), "", "UNAUTHENTICATED"),
    "a wrong token": (store("x y z"), "wrong", "PERMISSION_DENIED"),
    "the token": (store("x y z"), TOKEN, "OK"),
    "its own tenant": (store("x y z"), TENANT_TOKEN, "OK"),
    "another tenant": (store("x y z", tenant="globex"), TENANT_TOKEN, "PERMISSION_DENIED"),
    "no tenant": (wire.InvalidateRequest(tag="t"), TENANT_TOKEN, "PERMISSION_DENIED"),
    "its tenant's entries": (wire.InvalidateRequest(tenant="acme"), TENANT_TOKEN, "OK"),
    "another's entries": (wire.InvalidateRequest(tenant="globex"), TENANT_TOKEN, "PERMISSION_DENIED"),
    "everything": (wire.InvalidateRequest(everything=wire.Everything()), TENANT_TOKEN, "PERMISSION_DENIED"),
    "describing": (wire.DescribeRequest(), TENANT_TOKEN, "PERMISSION_DENIED"),
    "describing with the token": (wire.DescribeRequest(), TOKEN, "OK"),
}


@pytest.mark.parametrize(("request_", "token", "status"), RIGHTS.values(), ids=RIGHTS.keys())
async def test_a_caller_may_do_what_a_rule_allows(served: Served, request_: Any, token: str, status: str) -> None:
    request_.namespace = "guarded"

    code, details = await served.status(request_, token)

    assert code == status
    assert not token or token not in details


@pytest.mark.parametrize(("token", "has_lease"), [("", False), (TENANT_TOKEN, True)], ids=["look up", "store, too"])
async def test_who_may_not_store_is_given_no_lease(served: Served, token: str, *, has_lease: bool) -> None:
    request = lookup(uuid.uuid4().hex)
    request.namespace, request.lease = "guarded", True

    response = await served.call(request, token)

    assert (response.outcome, bool(response.lease_id)) == (wire.OUTCOME_MISS, has_lease)


async def judge(served: Served, token: str, **fields: Any) -> tuple[str, bool, bool]:
    request = wire.FeedbackRequest(namespace="guarded", judgement=wire.JUDGEMENT_WRONG, **fields)
    try:
        response = await served.call(request, token)
    except grpc.aio.AioRpcError as error:
        return error.code().name, False, False
    return "OK", response.quarantined, response.learned


@pytest.mark.parametrize(("is_gone", "what"), [(False, "reset my password"), (True, "cancel my order")])
async def test_who_speaks_for_a_tenant_teaches_nothing_by_anothers_lookup(
    served: Served, what: str, *, is_gone: bool
) -> None:
    lookups = {}
    for tenant in ("acme", "globex"):
        await served.call(store(f"How do I {what}?", namespace="guarded", tenant=tenant), TOKEN)
        lookups[tenant] = await served.call(lookup(f"How can I {what}?", namespace="guarded", tenant=tenant), TOKEN)
        if is_gone:
            await served.call(wire.InvalidateRequest(namespace="guarded", tenant=tenant), TOKEN)

    told_of = {each: await judge(served, TENANT_TOKEN, lookup_id=lookups[each].lookup_id) for each in lookups}

    assert told_of == {"acme": ("OK", not is_gone, True), "globex": ("PERMISSION_DENIED", False, False)}
    assert await judge(served, TOKEN, lookup_id=lookups["globex"].lookup_id) == ("OK", not is_gone, True)


async def test_whether_another_tenant_has_an_entry_is_not_told_by_judging_it(served: Served) -> None:
    kept = await served.call(store("Is the river high?", namespace="guarded", tenant="globex"), TOKEN)

    there, nowhere = [await judge(served, TENANT_TOKEN, entry_id=each) for each in (kept.entry_id, str(uuid.uuid4()))]

    assert there == nowhere == ("OK", False, False)
    again = await served.call(lookup("Is the river high?", namespace="guarded", tenant="globex"), TOKEN)
    assert again.outcome == wire.OUTCOME_EXACT


async def test_describing_all_shows_only_what_the_caller_administers(served: Served) -> None:
    shown = [state.namespace for state in (await served.call(wire.DescribeRequest())).namespaces]

    assert "guarded" not in shown
    assert "support" in shown


async def test_an_export_needs_its_right(served: Served) -> None:
    export = served.channel.unary_stream(
        f"/{NAME}/Export",
        request_serializer=wire.ExportRequest.SerializeToString,
        response_deserializer=wire.ExportResponse.FromString,
    )

    async def status(token: str, **fields: Any) -> str:
        request = wire.ExportRequest(namespace="guarded", **fields)
        try:
            return [part.WhichOneof("part") async for part in export(request, metadata=bearer(token))][-1] or ""
        except grpc.aio.AioRpcError as error:
            return error.code().name

    assert await status("") == "UNAUTHENTICATED"
    assert await status(TENANT_TOKEN) == "PERMISSION_DENIED"
    assert await status(TENANT_TOKEN, tenant="acme") == "trailer"
    assert await status(TOKEN) == "trailer"
