"""Qdrant's gRPC interface over the client's own in-process form, with the rules of a server that the latter leaves out.

1. Strict mode is enforced as the server does: filters by unindexed fields, limits, `hnsw_ef`, exact counts.
2. While `lacks_a_node`, what a cluster with a dead node cannot do fails: a read of most copies, a write by the permanent leader.
3. A call without the key is refused, where there is one. `failure` is what every further call gets; while `held` is set
   they wait.

It proves what goes over the wire. Indexes and quantisation do nothing here either.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import grpc
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

_PREFIX = "/qdrant."
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class StrictModeError(Exception):
    """What the server says no to."""


class QdrantServer:
    """Listens on a free port of this machine."""

    def __init__(self, api_key: str = "", credentials: grpc.ServerCredentials | None = None) -> None:
        self.api_key = api_key
        self.failure: grpc.StatusCode | None = None
        self.trailers: list[tuple[str, str]] = []
        self.held = False
        self.lacks_a_node = False
        self.released = asyncio.Event()
        self.calls: list[str] = []
        self.strict: dict[str, models.StrictModeConfig] = {}
        self.indexed: dict[str, set[str]] = {}
        self.copies: dict[str, tuple[int, int]] = {}
        self.port = 0
        self._credentials = credentials
        self._client = AsyncQdrantClient(location=":memory:")
        self._server = grpc.aio.server()

    async def start(self) -> None:
        self._server.add_generic_rpc_handlers([_Handlers(self)])
        if self._credentials is None:
            self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        else:
            self.port = self._server.add_secure_port(f"localhost:{self.port}", self._credentials)
        await self._server.start()

    async def leave(self) -> None:
        """Be away, with what there is kept; `start` comes back to the same port."""
        await self._server.stop(None)
        self._server = grpc.aio.server()

    async def stop(self) -> None:
        self.released.set()
        await self._server.stop(None)
        await self._client.close()

    async def answer(self, method: str, request: Any, context: grpc.aio.ServicerContext) -> Any:
        self.calls.append(method)
        if self.held:
            await self.released.wait()
        if self.failure is not None:
            context.set_trailing_metadata(self.trailers)
            await context.abort(self.failure, "as the test has it")
        if self.lacks_a_node and _needs_every_node(request):
            await context.abort(grpc.StatusCode.INTERNAL, "Service internal error: not enough active replicas")
        if self.api_key and dict(context.invocation_metadata()).get("api-key") != self.api_key:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key")
        try:
            return await getattr(self, "_" + _CAPITAL.sub("_", method).lower())(request)
        except StrictModeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Bad request: {error}")
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Wrong input: {error}")

    async def _create(self, request: Any) -> Any:
        name = request.collection_name
        self.copies[name] = (request.replication_factor, request.write_consistency_factor)
        await self._client.create_collection(
            name, vectors_config=GrpcToRest.convert_vectors_config(request.vectors_config)
        )
        if request.HasField("strict_mode_config"):
            self.strict[name] = GrpcToRest.convert_strict_mode_config(request.strict_mode_config)
        self.indexed[name] = set()
        return wire.CollectionOperationResponse(result=True)

    async def _update(self, request: Any) -> Any:
        self.strict[request.collection_name] = GrpcToRest.convert_strict_mode_config(request.strict_mode_config)
        return wire.CollectionOperationResponse(result=True)

    async def _collection_exists(self, request: Any) -> Any:
        exists = await self._client.collection_exists(request.collection_name)
        return wire.CollectionExistsResponse(result=wire.CollectionExists(exists=exists))

    async def _list(self, _: Any) -> Any:
        found = await self._client.get_collections()
        return wire.ListCollectionsResponse(
            collections=[wire.CollectionDescription(name=each.name) for each in found.collections]
        )

    async def _delete(self, request: Any) -> Any:
        if isinstance(request, wire.DeletePoints):
            selector = GrpcToRest.convert_points_selector(request.points)
            if isinstance(selector, models.FilterSelector):
                self._check_filter(request.collection_name, selector.filter, is_update=True)
            await self._client.delete(request.collection_name, selector)
            return _done()
        await self._client.delete_collection(request.collection_name)
        return wire.CollectionOperationResponse(result=True)

    async def _update_aliases(self, request: Any) -> Any:
        await self._client.update_collection_aliases(
            [GrpcToRest.convert_alias_operations(each) for each in request.actions]
        )
        return wire.CollectionOperationResponse(result=True)

    async def _list_aliases(self, _: Any) -> Any:
        found = await self._client.get_aliases()
        return wire.ListAliasesResponse(aliases=[RestToGrpc.convert_alias_description(each) for each in found.aliases])

    async def _create_field_index(self, request: Any) -> Any:
        self.indexed[request.collection_name].add(request.field_name)
        return _done()

    async def _get(self, request: Any) -> Any:
        records = await self._client.retrieve(
            request.collection_name, [GrpcToRest.convert_point_id(each) for each in request.ids], with_payload=True
        )
        return wire.GetResponse(result=[RestToGrpc.convert_record(each) for each in records])

    async def _query_batch(self, request: Any) -> Any:
        queries = [GrpcToRest.convert_query_points(each) for each in request.query_points]
        for query in queries:
            self._check_filter(request.collection_name, query.filter)
            self._check_limit(request.collection_name, query.limit)
            widest = self._rules(request.collection_name).search_max_hnsw_ef
            if widest and query.params and (query.params.hnsw_ef or 0) > widest:
                raise StrictModeError(f"Limit exceeded {query.params.hnsw_ef} > {widest} for hnsw_ef")
        answers = await self._client.query_batch_points(request.collection_name, queries)
        return wire.QueryBatchResponse(
            result=[
                wire.BatchResult(result=[RestToGrpc.convert_scored_point(point) for point in answer.points])
                for answer in answers
            ]
        )

    async def _upsert(self, request: Any) -> Any:
        condition = GrpcToRest.convert_filter(request.update_filter) if request.HasField("update_filter") else None
        points = [GrpcToRest.convert_point_struct(each) for each in request.points]
        await self._client.upsert(request.collection_name, points, update_filter=condition)
        return _done()

    async def _update_batch(self, request: Any) -> Any:
        changes = [GrpcToRest.convert_points_update_operation(each) for each in request.operations]
        for change in changes:
            assert isinstance(change, models.SetPayloadOperation)
            self._check_filter(request.collection_name, change.set_payload.filter, is_update=True)
        await self._client.batch_update_points(request.collection_name, changes)
        return wire.UpdateBatchResponse(result=[_done().result for _ in changes])

    async def _count(self, request: Any) -> Any:
        selected = GrpcToRest.convert_filter(request.filter)
        self._check_filter(request.collection_name, selected)
        if request.exact and self._rules(request.collection_name).search_allow_exact is False:
            raise StrictModeError("Exact search disabled!")
        answer = await self._client.count(request.collection_name, selected, exact=True)
        return wire.CountResponse(result=wire.CountResult(count=answer.count))

    async def _scroll(self, request: Any) -> Any:
        selected = GrpcToRest.convert_filter(request.filter)
        self._check_filter(request.collection_name, selected)
        self._check_limit(request.collection_name, request.limit)
        order = GrpcToRest.convert_order_by(request.order_by) if request.HasField("order_by") else None
        if order is not None and order.key not in self.indexed[request.collection_name]:
            raise StrictModeError(f"No range index for `order_by` key: {order.key}")
        records, following = await self._client.scroll(
            request.collection_name,
            scroll_filter=selected,
            limit=request.limit,
            order_by=order,
            offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
            with_payload=GrpcToRest.convert_with_payload_selector(request.with_payload),
            with_vectors=request.with_vectors.enable,
        )
        offset = None if following is None else RestToGrpc.convert_extended_point_id(following)
        for record in records:
            record.payload = record.payload or {}
        result = [RestToGrpc.convert_record(each) for each in records]
        return wire.ScrollResponse(result=result, next_page_offset=offset)

    def _rules(self, collection: str) -> models.StrictModeConfig:
        return self.strict.get(collection, models.StrictModeConfig())

    def _check_limit(self, collection: str, limit: int | None) -> None:
        most = self._rules(collection).max_query_limit
        if most is not None and (limit or 10) > most:
            raise StrictModeError(f"Limit exceeded {limit} > {most}")

    def _check_filter(self, collection: str, condition: Any, *, is_update: bool = False) -> None:
        rules, must = self._rules(collection), (condition.must if condition else None) or []
        is_allowed = rules.unindexed_filtering_update if is_update else rules.unindexed_filtering_retrieve
        for each in must:
            if isinstance(each, models.FieldCondition) and each.key not in self.indexed[collection]:
                assert is_allowed is not False, f"no index for {each.key}"
        if rules.filter_max_conditions is not None and len(must) > rules.filter_max_conditions:
            raise StrictModeError(f"Filter condition limit reached ({len(must)})")


class _Handlers(grpc.GenericRpcHandler):
    """Finds the methods of both services by name."""

    def __init__(self, server: QdrantServer) -> None:
        self._server = server

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        service, method = details.method.removeprefix(_PREFIX).split("/")
        file = {"Points": "points_service", "Collections": "collections_service"}[service]
        types = getattr(wire, f"{file}_pb2").DESCRIPTOR.services_by_name[service].methods_by_name[method]

        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            return await self._server.answer(method, request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=_parser(types.input_type), response_serializer=_to_bytes
        )


def _needs_every_node(request: Any) -> bool:
    """Return whether a cluster of two copies cannot do this while one of them is dead."""
    fields = {each.name for each, _ in request.ListFields()}
    is_strong = "ordering" in fields and request.ordering.type == wire.WriteOrderingType.Strong
    return is_strong or "read_consistency" in fields


def _parser(message: Any) -> Callable[[bytes], Any]:
    return getattr(wire, message.name).FromString  # type: ignore[no-any-return]


def _to_bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _done() -> Any:
    return wire.PointsOperationResponse(result=wire.UpdateResult(status=wire.UpdateStatus.Completed))
