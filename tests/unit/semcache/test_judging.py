from __future__ import annotations

import random

from semcache.calibration import Gate, GateSettings
from semcache.judging import Judges
from semcache.policy import Step
from semcache.scope import entry_id
from semcache.store import Candidate
from semcache.tickets import Ticket
from semcache.verifier.features import Weights
from semcache.verifier.verdict import CHARACTERS_MAX, Verifier
from tests.fakes.caches import FOREST, PRIOR, namespace
from tests.fakes.entries import SCOPE, entry

PASSWORD = "how do I reset my password"
NEAR = "how do I reset my own password"
MODEL = "m"


def judges(**options: int) -> Judges:
    def make_gate(settings: GateSettings, model: str) -> Gate:
        return Gate(settings, PRIOR, model)

    return Judges(Verifier(FOREST, Weights({}, 1.0), 0.0), make_gate, draw=random.Random(1), **options)


def candidate(prompt: str, similarity: float = 0.95) -> Candidate:
    record = entry(prompt).record
    return Candidate(entry_id(SCOPE, prompt), similarity, prompt, 0.0, 1.0, record)


def step(made: Judges, *candidates: Candidate, prompt: str = PASSWORD, **fields: object) -> Step:
    space = namespace(**fields)
    return made.judge(space, MODEL, prompt, candidates, confidence_min=0.0, explores=True).ruling.step


def test_what_is_near_and_not_refused_is_served() -> None:
    assert step(judges(), candidate(NEAR)) is Step.SEMANTIC


def test_a_deictic_entry_is_looked_over() -> None:
    assert step(judges(), candidate("continue", 0.99)) is Step.NOTHING_NEAR
    assert step(judges(), candidate("continue", 0.99), candidate(NEAR)) is Step.SEMANTIC


def test_what_was_too_long_to_be_read_is_refused_with_guards_off_too() -> None:
    long = "what is a weir " * (CHARACTERS_MAX // 15 + 1)

    assert step(judges(), candidate(long), guards=False) is Step.GUARD


def test_a_lookup_is_learned_from_once_for_as_long_as_it_is_remembered() -> None:
    made = judges(judged_max=1)
    first, second = (Ticket("support", SCOPE, 0, None, 4.0, nonce) for nonce in "ab")

    learned = [made.learn(namespace(), MODEL, each, is_right=True, now=0.0) for each in (first, first, second, first)]

    assert learned == [True, False, True, True]


def test_what_was_not_judged_is_not_learned_from() -> None:
    assert not judges().learn(namespace(), MODEL, Ticket("support", SCOPE, 0), is_right=True, now=0.0)


def test_enough_wrong_answers_close_the_gate_of_their_namespace_alone() -> None:
    made = judges()
    for number in range(40):
        made.learn(namespace(), MODEL, Ticket("support", SCOPE, 0, None, 4.0, str(number)), is_right=False, now=0.0)

    assert step(made, candidate(NEAR)) in {Step.CLOSED, Step.CONFIDENCE}
    assert step(made, candidate(NEAR), name="sales") is Step.SEMANTIC


def test_looking_at_a_fetch_under_way_notes_no_request() -> None:
    made = judges()
    gate = made.gate(namespace(), MODEL)
    before = gate.state()

    assert made.is_near(namespace(), MODEL, PASSWORD, NEAR, 0.95)
    assert not made.is_near(namespace(), MODEL, PASSWORD, NEAR, 0.6)
    assert not made.is_near(namespace(), MODEL, PASSWORD, "continue", 0.95)
    assert gate.state() == before


def test_a_new_target_goes_on_with_what_was_learned_and_a_new_model_does_not() -> None:
    made = judges()
    made.learn(namespace(), MODEL, Ticket("support", SCOPE, 0, None, 4.0), is_right=True, now=0.0)

    assert len(made.gate(namespace(target_error=0.1), MODEL).labels) == 1
    assert len(made.gate(namespace(), "another model").labels) == 0


def test_what_was_learned_is_carried_over_a_restart() -> None:
    before, after = judges(), judges()
    before.learn(namespace(), MODEL, Ticket("support", SCOPE, 0, None, 4.0), is_right=True, now=0.0)

    after.restore(before.state())

    assert len(after.gate(namespace(), MODEL).labels) == 1
    assert after.state() == before.state()


def test_what_is_not_used_yet_is_not_forgotten() -> None:
    before, after = judges(), judges()
    before.learn(namespace(), MODEL, Ticket("support", SCOPE, 0, None, 4.0), is_right=True, now=0.0)

    after.restore(before.state())

    assert after.state() == before.state()
