from __future__ import annotations

import random

import pytest

from semcache.calibration import Gate, GateSettings
from semcache.invalidation import Moment
from semcache.judging import Judges
from semcache.policy import Step
from semcache.scope import entry_id
from semcache.store import Candidate
from semcache.threshold import Target
from semcache.tickets import Ticket
from semcache.verifier.features import Weights
from semcache.verifier.verdict import CHARACTERS_MAX, Verifier
from tests.fakes.caches import FOREST, PRIOR, namespace
from tests.fakes.entries import SCOPE

PASSWORD = "how do I reset my password"
NEAR = "how do I reset my own password"
MODEL = "m"


def judges(**options: int) -> Judges:
    def make_gate(settings: GateSettings, model: str) -> Gate:
        return Gate(settings, PRIOR, model)

    return Judges(Verifier(FOREST, Weights({}, 1.0), 0.0), make_gate, draw=random.Random(1), **options)


def carry(source: Judges, target: Judges) -> None:
    for key in source.versions():
        target.absorb(key, source.state(key))


def states(judges: Judges) -> dict[str, object]:
    return {key: judges.state(key) for key in judges.versions()}


def candidate(prompt: str, similarity: float = 0.95) -> Candidate:
    return Candidate(entry_id(SCOPE, prompt), similarity, prompt)


def step(made: Judges, *candidates: Candidate, prompt: str = PASSWORD, **fields: object) -> Step:
    space = namespace(**fields)
    return made.judge(space, MODEL, prompt, candidates, 0.0, confidence_min=0.0, explores=True).ruling.step


def test_what_is_near_and_not_refused_is_served() -> None:
    assert step(judges(), candidate(NEAR)) is Step.SEMANTIC


def test_a_deictic_entry_is_looked_over() -> None:
    assert step(judges(), candidate("continue", 0.99)) is Step.NOTHING_NEAR
    assert step(judges(), candidate("continue", 0.99), candidate(NEAR)) is Step.SEMANTIC


def test_what_was_too_long_to_be_read_is_refused_with_guards_off_too() -> None:
    long = "what is a weir " * (CHARACTERS_MAX // 15 + 1)

    assert step(judges(), candidate(long), guards=False) is Step.GUARD


def test_a_lookup_is_learned_from_once_for_as_long_as_its_label_counts_or_it_is_remembered() -> None:
    made = judges(judged_max=2)
    labels_max = GateSettings(Target(0.05)).labels_max
    names = ["first", "first", *map(str, range(labels_max)), "first"]
    tickets = [Ticket("support", SCOPE, Moment(), None, 4.0, name) for name in names]

    learned = [made.learn(namespace(), MODEL, each, is_right=True, now=at) for at, each in enumerate(tickets)]

    assert (learned[:3], learned[-1]) == ([True, False, True], True)


def test_what_was_not_judged_is_not_learned_from() -> None:
    assert not judges().learn(namespace(), MODEL, Ticket("support", SCOPE, Moment()), is_right=True, now=0.0)


def test_enough_wrong_answers_close_the_gate_of_their_namespace_alone() -> None:
    made = judges()
    for number in range(40):
        made.learn(
            namespace(), MODEL, Ticket("support", SCOPE, Moment(), None, 4.0, str(number)), is_right=False, now=0.0
        )

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
    made.learn(namespace(), MODEL, Ticket("support", SCOPE, Moment(), None, 4.0), is_right=True, now=0.0)

    assert len(made.gate(namespace(target_error=0.1), MODEL).labels) == 1
    assert len(made.gate(namespace(), "another model").labels) == 0


def test_what_was_learned_is_carried_over_a_restart() -> None:
    before, after = judges(), judges()
    before.learn(namespace(), MODEL, Ticket("support", SCOPE, Moment(), None, 4.0), is_right=True, now=0.0)

    carry(before, after)

    assert len(after.gate(namespace(), MODEL).labels) == 1
    assert states(after) == states(before)


def test_what_is_not_used_yet_is_not_forgotten() -> None:
    before, after = judges(), judges()
    before.learn(namespace(), MODEL, Ticket("support", SCOPE, Moment(), None, 4.0), is_right=True, now=0.0)

    carry(before, after)

    assert states(after) == states(before)


def test_what_one_replica_learned_another_does_not_learn_again() -> None:
    one, other = judges(), judges()
    ticket = Ticket("support", SCOPE, Moment(), None, 4.0)
    one.learn(namespace(), MODEL, ticket, is_right=False, now=0.0)
    other.gate(namespace(), MODEL)

    carry(one, other)

    assert not other.learn(namespace(), MODEL, ticket, is_right=False, now=1.0)
    assert len(other.gate(namespace(), MODEL).labels) == 1


def test_a_gate_that_closes_at_one_replica_closes_at_all() -> None:
    one, other = judges(), judges()
    before = step(other, candidate(NEAR))
    for number in range(15):  # fewer than a gate fits itself after
        one.learn(
            namespace(), MODEL, Ticket("support", SCOPE, Moment(), None, 4.0, str(number)), is_right=False, now=0.0
        )

    carry(one, other)
    carry(other, one)

    assert before is Step.SEMANTIC
    assert step(other, candidate(NEAR)) in {Step.CLOSED, Step.CONFIDENCE}
    assert one.standing(namespace(), MODEL) == other.standing(namespace(), MODEL)


def test_a_model_that_comes_back_finds_what_was_learned_of_it() -> None:
    made = judges()
    made.learn(namespace(), MODEL, Ticket("support", SCOPE, Moment(), None, 4.0), is_right=True, now=0.0)
    made.gate(namespace(), "another model")

    assert len(made.gate(namespace(), MODEL).labels) == 1


def test_what_cannot_be_read_teaches_a_gate_nothing() -> None:
    made = judges()
    state = made.gate(namespace(), MODEL).state() | {"labels": [1]}
    late = judges()

    with pytest.raises(ValueError, match="not what a gate stood on"):
        made.absorb("support m", state)
    late.absorb("support m", state)

    assert step(late, candidate(NEAR)) is Step.SEMANTIC


def test_a_shadow_threshold_stands_by_the_labels_that_it_would_have_served() -> None:
    made, space = judges(), namespace(shadow={"threshold": 0.97})
    for number in range(10):
        ticket = Ticket("support", SCOPE, Moment(), None, 4.0, str(number), 0.95 + number / 200)
        made.learn(space, MODEL, ticket, is_right=number > 5, now=0.0)

    standing = made.standing(space, MODEL)

    assert standing.labels == 10
    assert standing.shadow is not None
    assert (standing.shadow.labels, standing.shadow.wrong) == (6, 2)


def test_a_shadow_target_stands_by_its_gate() -> None:
    made, space = judges(), namespace(target_error=None, threshold=0.99, shadow={"target_error": 0.05})
    made.learn(space, MODEL, Ticket("support", SCOPE, Moment(), None, 4.0, "a", 0.95), is_right=True, now=0.0)

    standing = made.standing(space, MODEL)

    assert (standing.setting.labels, standing.shadow and standing.shadow.labels) == (0, 1)
    assert made.standing(namespace(), MODEL).shadow is None


@pytest.mark.parametrize(
    ("shadow", "similarity", "expected"),
    [
        ({"threshold": 0.9}, 0.95, True),
        ({"threshold": 0.96}, 0.95, False),
        ({"target_error": 0.05}, 0.0, True),
        (None, 1.0, False),
    ],
)
def test_a_judged_lookup_is_held_against_the_shadow_setting(
    shadow: dict[str, float] | None, similarity: float, expected: object
) -> None:
    ticket = Ticket("support", SCOPE, Moment(), None, 4.0, similarity=similarity)

    assert judges().shadow_serves(namespace(shadow=shadow), MODEL, ticket) is expected
