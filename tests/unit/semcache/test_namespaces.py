from __future__ import annotations

import hashlib

import pytest
from pydantic import ValidationError

from semcache.namespaces import TARGET_ERROR, CallerRule, Namespace, Namespaces, Role
from semcache.scope import Scope
from serving.rights import Identity

OPEN = CallerRule(anyone=True, roles=frozenset({Role.LOOKUP, Role.STORE}))
TOKEN = "s3cret"
BY_TOKEN = CallerRule(token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(), roles=frozenset({Role.INVALIDATE}))
BY_SAN = CallerRule(san="gateway.example.com", roles=frozenset({Role.LOOKUP}), tenants=("acme",))
BY_URI = CallerRule(san="spiffe://example.com/ns/gateway", roles=frozenset({Role.LOOKUP}))
ADMIN = CallerRule(anyone=True, roles=frozenset({Role.ADMINISTER}))


def namespace(*callers: CallerRule) -> Namespace:
    return Namespace(name="support", callers=callers or (OPEN,))


def test_what_no_rule_allows_is_not_allowed() -> None:
    assert [role for role in Role if namespace(OPEN).allows(Identity(), role)] == [Role.LOOKUP, Role.STORE]


def test_who_administers_may_do_everything() -> None:
    assert all(namespace(ADMIN).allows(Identity(), role) for role in Role)


@pytest.mark.parametrize(("token", "is_allowed"), [(TOKEN, True), ("other", False), ("", False)])
def test_a_token_is_known_by_its_digest(token: str, is_allowed: bool) -> None:  # noqa: FBT001 - a row of the table
    assert namespace(BY_TOKEN).allows(Identity(token=token), Role.INVALIDATE) is is_allowed


@pytest.mark.parametrize(
    ("san", "is_allowed"), [("gateway.example.com", True), ("*.example.com", True), ("other.example.com", False)]
)
def test_a_name_is_known_as_certificates_bear_it(san: str, is_allowed: bool) -> None:  # noqa: FBT001 - a row of the table
    assert namespace(BY_SAN).allows(Identity((san,)), Role.LOOKUP, "acme") is is_allowed


def test_a_uri_is_compared_as_it_is() -> None:
    known, other = ("spiffe://example.com/ns/gateway",), ("spiffe://example.com/ns/gateway2", "*.com/ns/gateway")

    assert namespace(BY_URI).allows(Identity(known), Role.LOOKUP)
    assert not namespace(BY_URI).allows(Identity(other), Role.LOOKUP)


@pytest.mark.parametrize("tenant", [None, "", "globex"])
def test_a_caller_bound_to_tenants_may_name_no_other(tenant: str | None) -> None:
    assert not namespace(BY_SAN).allows(Identity(("gateway.example.com",)), Role.LOOKUP, tenant)


@pytest.mark.parametrize("fields", [{}, {"san": "a", "anyone": True}, {"san": "a", "token_sha256": "0" * 64}])
def test_a_rule_is_about_one_kind_of_caller(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="exactly one of"):
        CallerRule.model_validate({"roles": ["lookup"], **fields})


def test_a_namespace_that_says_nothing_has_a_target() -> None:
    made = namespace()

    assert (made.target_error, made.threshold) == (TARGET_ERROR, None)


def test_target_and_threshold_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="one of them decides"):
        Namespace(name="support", callers=(OPEN,), target_error=0.01, threshold=0.9)


@pytest.mark.parametrize(("tenant", "missing"), [(None, "tenant"), ("", "tenant"), (" \t", "tenant"), ("acme", "")])
def test_a_required_field_must_say_something(tenant: str | None, missing: str) -> None:
    assert namespace().missing(Scope("support", tenant=tenant)) == missing


def test_namespaces_are_found_by_name() -> None:
    both = Namespaces([Namespace(name="b", callers=(OPEN,)), Namespace(name="a", callers=(OPEN,))])

    assert [each.name for each in both.members] == ["a", "b"]
    assert both.find("a") is both.members[0]
    assert both.find("c") is None


def test_who_may_do_nothing_needs_no_rule() -> None:
    with pytest.raises(ValidationError, match="has no roles"):
        CallerRule.model_validate({"san": "gateway.example.com", "roles": []})


def test_a_namespace_that_nobody_may_use_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="callers is empty"):
        Namespace(name="support", callers=())


def test_nobody_is_given_a_longer_life_than_anybody_may_name() -> None:
    with pytest.raises(ValidationError, match="default is above max"):
        Namespace.model_validate({"name": "support", "callers": [OPEN], "ttl": {"default": 61, "max": 60}})
