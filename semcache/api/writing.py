"""Answers from plain values to the wire."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from protos.semcache.v1 import semcache_pb2 as wire
from semcache.answers import Answer, Kept
from semcache.backends import Phase, Progress
from semcache.calibration import Report
from semcache.curating import NamespaceState
from semcache.entry import Completion, Usage
from semcache.namespaces import Demand
from semcache.tallies import Share, Tally, share

_NANOS = 1_000_000_000


def write_answer(answer: Answer) -> bytes:
    """Return a LookupResponse."""
    response = wire.LookupResponse(
        outcome=wire.Outcome.ValueType(answer.outcome),
        reason=wire.Reason.ValueType(answer.reason),
        entry_id=answer.entry_id or "",
        similarity=answer.similarity,
        confidence=answer.confidence,
        step=answer.step,
        guard=answer.guard,
        missing=answer.missing,
        lookup_id=answer.lookup_id,
        tokens_cut=answer.tokens_unread,
        scope_id=answer.scope_id or "",
    )
    if answer.entry is not None:
        # In place: copies of both cost as much as all else here.
        _fill(response.completion, answer.entry.completion)
        response.age.seconds, response.age.nanos = _split(answer.age_seconds)
    if answer.lease is not None:
        response.lease_id = answer.lease.id
        response.lease_ttl.CopyFrom(write_seconds(answer.lease.ttl_seconds))
    return response.SerializeToString()


def write_kept(kept: Kept) -> bytes:
    """Return a StoreResponse."""
    response = wire.StoreResponse(
        stored=kept.entry_id is not None,
        refusal=wire.Refusal.ValueType(kept.refusal),
        detail=kept.detail,
        entry_id=kept.entry_id or "",
    )
    if kept.entry_id is not None:
        response.expires_at.CopyFrom(write_time(kept.expires_at))
    return response.SerializeToString()


def write_state(state: NamespaceState, since: float) -> wire.NamespaceState:
    """Return how a namespace does."""
    tally, namespace, standing = state.tally, state.namespace, state.standing
    written = wire.NamespaceState(
        namespace=namespace.name,
        embedding_model=state.model,
        entries=state.entries,
        epoch=state.epoch,
        since=write_time(since),
        exact_hits=tally.exact_hits,
        semantic_hits=tally.semantic_hits,
        misses=tally.misses,
        bypasses=tally.bypasses,
        hit_rate=_write_share(state.hit_rate),
        error_rate=_write_share(state.error_rate),
        target_error=namespace.target_error or 0.0,
        threshold=namespace.threshold or 0.0,
        is_gate_open=namespace.enabled and namespace.semantic and not standing.setting.threshold.is_closed,
        labels=standing.labels,
        saved=write_usage(tally.saved),
        saved_micros=tally.saved_micros(namespace),
        stored=tally.stored,
        refused=tally.refused,
    )
    if namespace.shadow is not None and standing.shadow is not None:
        written.shadow.CopyFrom(_write_shadow(namespace.shadow, standing.shadow, tally))
    if state.progress.phase is not Phase.SETTLED:
        written.migration.CopyFrom(_write_progress(state.progress))
    return written


def _write_progress(progress: Progress) -> wire.MigrationState:
    return wire.MigrationState(
        phase=wire.MigrationPhase.Value(f"MIGRATION_PHASE_{progress.phase.name}"),
        old_model=progress.old,
        new_model=progress.new,
        entries=progress.total,
        read=progress.read,
        embedded=progress.embedded,
    )


def _write_shadow(demand: Demand, report: Report, tally: Tally) -> wire.ShadowState:
    is_counted = demand == tally.shadow
    return wire.ShadowState(
        target_error=demand.target_error or 0.0,
        threshold=demand.threshold or 0.0,
        is_gate_open=not report.threshold.is_closed,
        hit_rate=_write_share(share(tally.shadow_hits, tally.shadow_asked) if is_counted else share(0, 0)),
        error_rate=_write_share(share(report.wrong, report.labels)),
    )


def write_completion(completion: Completion) -> wire.Completion:
    """Return a completion."""
    message = wire.Completion()
    _fill(message, completion)
    return message


def _fill(message: wire.Completion, completion: Completion) -> None:
    message.text = completion.text
    message.finish_reason = completion.finish_reason
    message.role = completion.role
    message.model = completion.model
    message.tool_calls = completion.tool_calls
    message.body = completion.body
    message.media_type = completion.media_type
    _count(message.usage, completion.usage)


def write_usage(usage: Usage) -> wire.Usage:
    """Return tokens."""
    message = wire.Usage()
    _count(message, usage)
    return message


def _count(message: wire.Usage, usage: Usage) -> None:
    message.input_tokens = usage.input_tokens
    message.output_tokens = usage.output_tokens
    message.cached_input_tokens = usage.cached_input_tokens
    message.reasoning_tokens = usage.reasoning_tokens


def write_seconds(seconds: float) -> Duration:
    """Return a duration."""
    whole, nanos = _split(seconds)
    return Duration(seconds=whole, nanos=nanos)


def write_time(at: float) -> Timestamp:
    """Return a moment, from Unix time."""
    whole, nanos = _split(at)
    return Timestamp(seconds=whole, nanos=nanos)


def _split(seconds: float) -> tuple[int, int]:
    whole = int(seconds)
    return whole, int((seconds - whole) * _NANOS)


def _write_share(share: Share) -> wire.Share:
    return wire.Share(value=share.value, low=share.low, high=share.high, count=share.count)
