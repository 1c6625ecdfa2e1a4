"""Conditions of a search as plain values, which each engine turns into its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from semcache.entry import Entry, EntryId, Record, State
from semcache.store import Question, Selector
from semcache.stores.payload import micros

Condition: TypeAlias = tuple[str, str, object]
"""What is compared (`is`, `in`, `gt`, `gte`, `lte`, `lt`), the field (`id` for the entry's own), and with what."""


def of_question(question: Question, now: float) -> Sequence[Condition]:
    """Return what an entry must be to be served."""
    conditions: list[Condition] = [
        ("is", "scope", question.scope),
        ("is", "epoch", question.epoch),
        ("is", "state", int(State.LIVE)),
        ("gt", "expires_at", now),
    ]
    if question.created_after > 0:
        conditions.append(("gte", "created_at", question.created_after))
    return conditions


def of_selector(selector: Selector) -> Sequence[Condition]:
    """Return what an entry must be to be selected."""
    conditions: list[tuple[str, str, object]] = [
        ("is", "ns", selector.namespace),
        ("is", "scope", selector.scope),
        ("is", "tenant", selector.tenant),
        ("is", "tags", selector.tag),
        ("in", "id", selector.ids),
        ("lte", "expires_at", selector.expired_at),
        ("lt", "epoch", selector.epoch_below),
        ("is", "state", None if selector.state is None else int(selector.state)),
        ("lte", "created_at", None if selector.created_before is None else micros(selector.created_before)),
    ]
    return [condition for condition in conditions if condition[2] is not None]


def of_amended(entry_id: EntryId, record: Record) -> Sequence[Condition]:
    """Return what an entry must be for its record to be replaced by this one."""
    conditions: list[Condition] = [("in", "id", [entry_id])]
    if record.state is not State.QUARANTINED:
        conditions.append(("is", "state", int(record.state)))
    return conditions


def of_published(entry: Entry) -> Sequence[Condition]:
    """Return what an entry must be to be published: the one that was added, and pending."""
    return [
        ("in", "id", [entry.id]),
        ("is", "state", int(State.PENDING)),
        ("gte", "created_at", micros(entry.created_at)),
        ("lte", "created_at", micros(entry.created_at)),
    ]
