"""Charge a batch of plans in one round trip, and say what each may do.

    Ask (plan, hits, deadline) ──▶ Draft ──▶ Ledger ─┐
    Ask ──▶ Draft ──▶ Ledger ────────────────────────┼──▶ Store.charge, once ──▶ Draft.settle ──▶ Verdict
    Ask ──▶ Draft (nothing to count) ────────────────┘ no

1. The clock is read once for a batch: keys and resets of one answer never belong to two windows.
2. Where nothing is to be counted (no rule, unlimited, known to be over) the store is not asked.
3. Denied hits are counted too. With STOP (`Policy.STOP`) a request in which some limit goes over
   charges only those that do, and so does one in which some limit is known to be over.
4. Equal calls that follow each other are charged as one: callers repeat themselves within a batch too, and one with a
   hot key does so all the time. Nothing came between them, so each is told what it would have been told alone.
   Under modes of our own some of them may fit and others not: they are drafted as one, and admitted one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ratelimit import drawing, folding
from ratelimit.accounting import Stats, account, account_local, account_refund
from ratelimit.draw import ID_CHARACTERS_MAX, Draw, Standings
from ratelimit.drawing import Wish
from ratelimit.errors import StoreError
from ratelimit.extras import extras
from ratelimit.limits import Unit, Windows
from ratelimit.local_cache import LocalCache
from ratelimit.outage import Outage
from ratelimit.plan import Plan, Step
from ratelimit.runs import stand_each
from ratelimit.settings import ModeSettings
from ratelimit.spans import Spans
from ratelimit.spenders import Spenders
from ratelimit.store import (
    COUNT_MAX,
    Admission,
    AdmissionOutcome,
    Charge,
    Count,
    HoldsPage,
    Ledger,
    Outcome,
    Policy,
    Store,
)
from ratelimit.verdict import NO_LIMIT, UNLIMITED, Status, Verdict
from serving.clock import Clock

# Precedent: Envoy waits 20 ms, and a gateway that gave up applies its own failure mode and not the rule's.
_SHARE_OF_DEADLINE = 0.75


@dataclass(slots=True)
class Ask:
    """One request that waits for its verdict."""

    plan: Plan
    hits: int
    """Of descriptors that bring none of their own; at least 1."""
    deadline: float
    request_id: str = ""
    """Empty where the request carries none."""
    wish: Wish | None = None
    """What the caller wants, where it can say so; None: what Envoy's protocol hints at (`ratelimit.drawing`)."""


@dataclass(slots=True)
class Draft:
    """A verdict under way."""

    ask: Ask
    statuses: list[Status]
    ledger: Ledger | None = None
    positions: list[int] = field(default_factory=list)
    """Descriptor of each charge."""
    is_stopped: bool = False
    """Some limit is known to be over, so the others are only looked at."""
    admission: Admission | None = None
    """In place of a ledger, where some rule has modes of our own."""
    times: int = 1
    """Calls that are drafted as one."""


class Limiter:
    """Decides; knows neither the wire nor where counters live."""

    def __init__(  # noqa: PLR0913 - it is put together in one place, by keyword
        self,
        store: Store,
        clock: Clock,
        stats: Stats,
        *,
        windows: Windows,
        policy: Policy = Policy.BURN,
        jitter_seconds: int = 0,
        local_cache: LocalCache | None = None,
        outage: Outage | None = None,
        spenders: Spenders | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._stats = stats
        self._windows = windows
        self._policy = policy
        self._jitter_seconds = jitter_seconds
        self._local_cache = local_cache
        self._outage = outage
        self._spenders = spenders
        self._adds_up = policy is Policy.BURN and local_cache is None

    async def decide(self, asks: Sequence[Ask], modes: ModeSettings) -> list[Verdict | StoreError]:
        """Answer every ask, in order; an error is that ask's alone."""
        now = self._clock.wall()
        spans = Spans(self._windows, now, self._jitter_seconds)
        if self._spenders is not None:
            self._spenders.turn(self._clock.steady())
        drafts = self._drafts(asks, modes, now, spans)
        if self._outage is not None and self._outage.is_wanted:
            self._hasten(drafts)
        ledgers = [draft.ledger for draft in drafts if draft.ledger is not None]
        # The same one for each of the calls that are drafted as one.
        admissions = [
            each for draft in drafts if draft.admission is not None for each in [draft.admission] * draft.times
        ]
        outcomes: Sequence[Outcome] = ()
        answers: Sequence[AdmissionOutcome] = ()
        if admissions:
            outcomes, answers = await self._store.admit(ledgers, admissions, now)
        elif ledgers:
            outcomes = await self._store.charge(ledgers, now)
        counts, standings = iter(outcomes), iter(answers)
        verdicts: list[Verdict | StoreError] = []
        for draft in drafts:
            if draft.times == 1:
                verdicts.append(self._finish(draft, counts, standings, modes, spans))
            elif draft.admission is not None:
                verdicts += self._finish_each(draft, draft.admission, standings, modes, spans)
            else:
                verdicts += self._finish_all(draft, next(counts), modes, spans)
        if self._outage is not None and any(isinstance(verdict, StoreError) for verdict in verdicts):
            return [
                await self._without_store(draft, verdict, modes, spans) if isinstance(verdict, StoreError) else verdict
                for draft, verdict in zip(_each(drafts), verdicts, strict=True)
            ]
        return verdicts

    async def holds(self, draw: Draw, *, cursor: str, most: int, deadline: float) -> HoldsPage | StoreError:
        """Return holds of the counter that a draw is on, page by page; see the port."""
        return await self._store.holds(draw, cursor=cursor, most=most, now=self._clock.wall(), deadline=deadline)

    def _drafts(self, asks: Sequence[Ask], modes: ModeSettings, now: float, spans: Spans) -> list[Draft]:
        drafts: list[Draft] = []
        last: Draft | None = None
        for ask in asks:
            if last is not None and ask.plan is last.ask.plan and self._repeats(last, ask):
                last.times += 1
                last.ask.deadline = max(last.ask.deadline, ask.deadline)
                continue
            is_plain = ask.plan.is_plain and ask.wish is None
            last = self._draft(ask, now, spans) if is_plain else _own(ask, modes, spans)
            drafts.append(last)
        for draft in drafts:
            if draft.times > 1:
                _join(draft)
        return drafts

    def _repeats(self, draft: Draft, ask: Ask) -> bool:
        """Say whether a call may be charged with the one before it, whose plan it has."""
        if ask.hits != draft.ask.hits or ask.wish is not None or draft.ask.wish is not None:
            return False
        if draft.admission is not None:
            return ask.request_id == draft.ask.request_id
        return self._adds_up and draft.ledger is not None and ask.plan.adds_up

    def _hasten(self, drafts: Sequence[Draft]) -> None:
        """Have the store give up early where there is an answer without it: ours must come before the caller's end."""
        steady = 0.0
        for draft in drafts:
            wanted = draft.ledger or draft.admission
            if wanted is not None and draft.ask.plan.survives_outage and draft.ask.wish is None:
                steady = steady or self._clock.steady()
                wanted.deadline = steady + _SHARE_OF_DEADLINE * (wanted.deadline - steady)

    async def _without_store(
        self, draft: Draft, error: StoreError, modes: ModeSettings, spans: Spans
    ) -> Verdict | StoreError:
        wanted = draft.ledger or draft.admission
        # Who says what it wants hears that there is no answer, and decides for itself.
        if self._outage is None or wanted is None or draft.ask.wish is not None:
            return error
        statuses = await self._outage.statuses(draft.ask.plan, wanted, draft.ask.hits, error, spans)
        if statuses is None:
            return error
        draft.statuses = statuses
        return self._verdict(draft, modes, spans)

    def _draft(self, ask: Ask, now: float, spans: Spans) -> Draft:
        draft = Draft(ask, [])
        charges: list[Charge] = []
        stems = ask.plan.stems
        for position, step in enumerate(ask.plan.steps):
            rule = step.rule
            if rule is None:
                draft.statuses.append(NO_LIMIT)
                continue
            limit = rule.limit
            if limit is None:
                draft.statuses.append(UNLIMITED)
                continue
            span = spans[limit.unit]
            key = stems[position] + span.suffix
            status = Status(is_over=False, limit=limit, remaining=0, reset_seconds=span.reset_seconds)
            draft.statuses.append(status)
            hits = ask.hits if step.hits is None else step.hits
            if self._local_cache is not None and not step.is_refund and self._local_cache.is_over(key, now, limit):
                draft.is_stopped = self._policy is Policy.STOP
                self._deny_locally(step, status, hits)
                continue
            draft.positions.append(position)
            is_per_second = limit.unit is Unit.SECOND
            charges.append(Charge(key, hits, limit.amount, span.ttl_seconds, step.is_refund, is_per_second))
        if charges:
            draft.ledger = self._ledger(draft, charges)
        return draft

    def _ledger(self, draft: Draft, charges: list[Charge]) -> Ledger:
        if draft.is_stopped:
            for charge in charges:
                charge.hits = 0 if not charge.is_refund else charge.hits
        return Ledger(charges, draft.ask.deadline, self._policy)

    def _deny_locally(self, step: Step, status: Status, hits: int) -> None:
        rule = step.rule
        is_shadow = rule is not None and rule.shadow_mode
        account_local(self._stats[step.stats_key], hits, is_shadow=is_shadow)
        status.is_over = not is_shadow

    def _finish(
        self,
        draft: Draft,
        outcomes: Iterator[Outcome],
        answers: Iterator[AdmissionOutcome],
        modes: ModeSettings,
        spans: Spans,
    ) -> Verdict | StoreError:
        if draft.ledger is not None:
            outcome = next(outcomes)
            if isinstance(outcome, StoreError):
                return outcome
            if self._spenders is not None:
                _note_charges(self._spenders, draft, draft.ledger)
            self._settle(draft, draft.ledger, outcome, spans)
        if draft.admission is not None:
            return self._finish_own(draft, draft.admission, next(answers), modes, spans)
        return self._verdict(draft, modes, spans)

    def _finish_own(
        self, draft: Draft, wanted: Admission, answer: AdmissionOutcome, modes: ModeSettings, spans: Spans
    ) -> Verdict | StoreError:
        if isinstance(answer, StoreError):
            return answer
        if self._spenders is not None:
            self._spenders.add_drawn(draft.ask.plan, answer)
        answer = self._stand(draft, wanted, answer, spans)
        return self._verdict(draft, modes, spans, wanted.draws, answer)

    def _finish_each(
        self, draft: Draft, wanted: Admission, answers: Iterator[AdmissionOutcome], modes: ModeSettings, spans: Spans
    ) -> Iterator[Verdict | StoreError]:
        """Tell each of the calls that were drafted as one what became of it."""
        mine, steps, blank = list(islice(answers, draft.times)), draft.ask.plan.steps, draft.statuses
        standings = [answer for answer in mine if not isinstance(answer, StoreError)]
        # Nearly always: one limit, which was asked for each of them.
        if len(steps) == len(wanted.draws) == 1 and len(standings) == len(mine):
            told = drawing.statuses(steps[0], wanted.draws[0], standings, self._stats[steps[0].stats_key], spans)
            spent = sum([standing.after - standing.before for (standing,) in standings])
            if self._spenders is not None and spent > 0:
                self._spenders.add(draft.ask.plan, 0, spent)
            for status, answer in zip(told, standings, strict=True):
                draft.statuses = [status]
                yield self._verdict(draft, modes, spans, wanted.draws, answer)
            return
        for each in mine:
            draft.statuses = list(blank)
            yield self._finish_own(draft, wanted, each, modes, spans)

    def _finish_all(
        self, draft: Draft, outcome: Outcome, modes: ModeSettings, spans: Spans
    ) -> Sequence[Verdict | StoreError]:
        """Tell each of the calls that were charged as one what it left."""
        if isinstance(outcome, StoreError):
            return [outcome] * draft.times
        if self._spenders is not None and draft.ledger is not None:
            _note_charges(self._spenders, draft, draft.ledger)
        columns = [[status] * draft.times for status in draft.statuses]
        for position, (before, _) in zip(draft.positions, outcome, strict=True):
            step, blank = draft.ask.plan.steps[position], draft.statuses[position]
            hits = draft.ask.hits if step.hits is None else step.hits
            columns[position] = stand_each(blank, step, self._stats[step.stats_key], before, hits, draft.times)
        verdicts: list[Verdict] = []
        for statuses in zip(*columns, strict=True):
            draft.statuses = list(statuses)
            verdicts.append(self._verdict(draft, modes, spans))
        return verdicts

    def _verdict(
        self, draft: Draft, modes: ModeSettings, spans: Spans, draws: Sequence[Draw] = (), standings: Standings = ()
    ) -> Verdict:
        plan, statuses = draft.ask.plan, draft.statuses
        wants_headers = modes.limit_response_headers_enabled or modes.limit_request_headers_enabled
        verdict = Verdict(
            folding.is_over(plan.steps, statuses, quota_mode=modes.quota_mode),
            statuses,
            folding.tightest(statuses) if wants_headers else None,
            folding.metadata(plan, statuses) if modes.response_dynamic_metadata else None,
            draws,
            standings,
            at=spans.now,
        )
        if plan.has_extras:
            more = extras(plan, statuses, is_over=verdict.is_over and not modes.shadow_mode)
            verdict.response_headers, verdict.request_headers = more.response_headers, more.request_headers
            verdict.body = more.body
        return verdict

    def _stand(self, draft: Draft, wanted: Admission, standings: Standings, spans: Spans) -> Standings:
        """Turn how the counters of our own modes stand into statuses and statistics."""
        start, ask = 0, draft.ask
        if ask.wish is not None:
            spans = spans.before(ask.wish.admitted_at)
            standings = drawing.told(ask.plan, ask.hits, ask.wish, standings, spans)
        for position, step in enumerate(draft.ask.plan.steps):
            if step.countings:
                end = start + len(step.countings)
                draft.statuses[position] = drawing.status(
                    step, wanted.draws[start:end], standings[start:end], self._stats[step.stats_key], spans
                )
                start = end
        return standings

    def _settle(self, draft: Draft, ledger: Ledger, counts: Sequence[Count], spans: Spans) -> None:
        """Turn what the counters held into statuses and statistics."""
        steps, ask = draft.ask.plan.steps, draft.ask
        for position, charge, (_, after) in zip(draft.positions, ledger.charges, counts, strict=True):
            step, status = steps[position], draft.statuses[position]
            rule, limit = step.rule, status.limit
            if rule is None or limit is None:  # pragma: no cover - only counted steps have a charge
                continue
            stats = self._stats[step.stats_key]
            hits = ask.hits if step.hits is None else step.hits
            status.remaining = max(0, limit.amount - after)
            if step.is_refund:
                account_refund(stats, hits)
                if self._local_cache is not None:
                    self._local_cache.forget(charge.key)
                continue
            is_over = after > limit.amount
            # By the hits asked, also where STOP left them out: the reference counts what was wanted.
            account(stats, max(0, after - hits), after, hits, limit.amount, step.near_mark, rule.shadow_mode)
            status.is_over = is_over and not rule.shadow_mode
            if is_over and self._local_cache is not None:
                self._local_cache.remember(charge.key, spans[limit.unit].window.end, after)


def _join(draft: Draft) -> None:
    """Have a draft speak for all of its calls."""
    if draft.admission is not None:
        draft.admission.deadline = draft.ask.deadline
    if draft.ledger is not None:
        draft.ledger.deadline = draft.ask.deadline
        for charge in draft.ledger.charges:
            charge.hits = min(charge.hits * draft.times, COUNT_MAX)


def _note_charges(spenders: Spenders, draft: Draft, ledger: Ledger) -> None:
    for position, charge in zip(draft.positions, ledger.charges, strict=True):
        if charge.hits and not charge.is_refund:
            spenders.add(draft.ask.plan, position, charge.hits)


def _each(drafts: Sequence[Draft]) -> Iterator[Draft]:
    """Yield the draft of every call."""
    for draft in drafts:
        for _ in range(draft.times):
            yield draft


def _own(ask: Ask, modes: ModeSettings, spans: Spans) -> Draft:
    """Draft a request of which some rule has modes of our own."""
    statuses = [NO_LIMIT if step.rule is None else UNLIMITED for step in ask.plan.steps]
    if ask.wish is not None:
        spans = spans.before(ask.wish.admitted_at)
    request_id = ask.request_id[:ID_CHARACTERS_MAX]
    wanted = drawing.admission(ask.plan, ask.hits, request_id, ask.deadline, ask.wish, modes, spans)
    return Draft(ask, statuses, admission=wanted if wanted.draws else None)
