"""Export and Import: streams of entries, each sealed, with a beginning and an end.

    header ─▶ entry* ─▶ trailer      SHA-256 of each entry, and of all of these in order

What is damaged is refused where it is seen; what came before it was taken, and taking it again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import NoReturn

import grpc

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.api import rights
from semcache.api.entries import read_entry, write_entry
from semcache.api.reading import Refused
from semcache.api.writing import write_time
from semcache.config.source import NamespaceSource
from semcache.errors import EmbedError, StoreError
from semcache.namespaces import Namespace, Role
from semcache.transfer import Carried, Imported, Transfer
from serving.calls import Caller
from serving.clock import Clock
from serving.grpc_handlers import Context, MethodHandler, sans
from serving.identity import bearer_token

VERSION = 1
_CODES = {code.value[0]: code for code in grpc.StatusCode}
# Entries taken at a time.
_PIECE_ENTRIES = 64


class Streams:
    """The two streaming methods."""

    def __init__(self, transfer: Transfer, source: NamespaceSource, clock: Clock) -> None:
        self._transfer = transfer
        self._source = source
        self._clock = clock

    def methods(self) -> dict[str, MethodHandler]:
        """Return the methods as the grpcio server takes them, by name."""
        return {
            "Export": grpc.unary_stream_rpc_method_handler(
                self._export,
                request_deserializer=wire.ExportRequest.FromString,
                response_serializer=wire.ExportResponse.SerializeToString,
            ),
            "Import": grpc.stream_unary_rpc_method_handler(
                self._import,
                request_deserializer=wire.ImportRequest.FromString,
                response_serializer=wire.ImportResponse.SerializeToString,
            ),
        }

    async def _export(self, request: wire.ExportRequest, context: Context) -> AsyncIterator[wire.ExportResponse]:
        tenant = request.tenant if request.HasField("tenant") else None
        namespace = await self._find(request.namespace, context, Role.EXPORT, tenant)
        now, digest, number = self._clock.wall(), hashlib.sha256(), 0
        try:
            model = self._transfer.model(namespace)
            header = wire.ExportHeader(
                version=VERSION, namespace=namespace.name, embedding_model=model, created_at=write_time(now)
            )
            yield wire.ExportResponse(header=header)
            async for row in self._transfer.export(namespace, tenant, now):
                sealed = _seal(write_entry(row).SerializeToString(deterministic=True))
                digest.update(sealed.sha256)
                number += 1
                yield wire.ExportResponse(entry=sealed)
        except StoreError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        yield wire.ExportResponse(trailer=wire.ExportTrailer(entries=number, sha256=digest.digest()))

    async def _import(self, parts: AsyncIterator[wire.ImportRequest], context: Context) -> wire.ImportResponse:
        taking = _Taking(self._transfer)
        try:
            async for part in parts:
                if taking.namespace is None:
                    taking.namespace = await self._find(part.namespace, context, Role.ADMINISTER, None)
                await taking.take(part, self._clock.wall())
            await taking.end(self._clock.wall())
        except _DamagedError as error:
            await context.abort(grpc.StatusCode.DATA_LOSS, f"{error}; {taking.total.imported} entries were taken")
        except Refused as refused:
            await _abort(context, refused)
        except (StoreError, EmbedError) as error:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE,
                f"{error}; {taking.total.imported} entries were taken, and may be sent again",
            )
        total = taking.total
        return wire.ImportResponse(imported=total.imported, expired=total.expired, embedded=total.embedded)

    async def _find(self, name: str, context: Context, role: Role, tenant: str | None) -> Namespace:
        caller = Caller(context.peer(), sans(context), bearer_token(context.invocation_metadata() or ()))
        try:
            namespace = rights.find(self._source.current, name)
            rights.check(namespace, caller, role, tenant)
        except Refused as refused:
            await _abort(context, refused)
        return namespace


class _DamagedError(Exception):
    """The stream is not what was sent."""


class _Taking:
    """One import under way."""

    def __init__(self, transfer: Transfer) -> None:
        self.namespace: Namespace | None = None
        self.total = Imported()
        self._transfer = transfer
        self._header: wire.ExportHeader | None = None
        self._trailer: wire.ExportTrailer | None = None
        self._digest = hashlib.sha256()
        self._number = 0
        self._waiting: list[Carried] = []

    async def take(self, part: wire.ImportRequest, now: float) -> None:
        """Take a part."""
        kind = part.WhichOneof("part")
        if self._trailer is not None:
            raise _DamagedError("something follows the trailer")
        if kind == "header" and self._header is None:
            self._begin(part.header)
        elif kind == "entry" and self._header is not None:
            self._waiting.append(self._unseal(part.entry))
            if len(self._waiting) >= _PIECE_ENTRIES:
                await self._keep(now)
        elif kind == "trailer" and self._header is not None:
            self._trailer = part.trailer
        else:
            raise _DamagedError(f"`{kind}` stands where it does not belong")

    async def end(self, now: float) -> None:
        """Keep what is left, and see whether all was there."""
        await self._keep(now)
        trailer = self._trailer
        if trailer is None:
            raise _DamagedError("it has no trailer: something is missing")
        if (trailer.entries, trailer.sha256) != (self._number, self._digest.digest()):
            raise _DamagedError("its entries are not those that the trailer says")

    def _begin(self, header: wire.ExportHeader) -> None:
        if header.version != VERSION:
            raise Refused.field("header.version", f"{header.version} is not known here, {VERSION} is")
        if self.namespace is None or header.namespace != self.namespace.name:
            raise Refused.field("namespace", f"the export is of `{header.namespace}`")
        self._header = header

    def _unseal(self, sealed: wire.Sealed) -> Carried:
        self._number += 1
        if hashlib.sha256(sealed.entry).digest() != sealed.sha256:
            raise _DamagedError(f"entry {self._number} is damaged")
        self._digest.update(sealed.sha256)
        return read_entry(sealed.entry, self._number)

    async def _keep(self, now: float) -> None:
        rows, self._waiting = self._waiting, []
        if rows and self.namespace is not None and self._header is not None:
            self.total += await self._transfer.take(self.namespace, self._header.embedding_model, rows, now)


def _seal(entry: bytes) -> wire.Sealed:
    return wire.Sealed(entry=entry, sha256=hashlib.sha256(entry).digest())


async def _abort(context: Context, refused: Refused) -> NoReturn:
    failure = refused.failure
    await context.abort(_CODES[failure.status], failure.detail)
    raise AssertionError("abort raises")
