from __future__ import annotations

import pytest

from serving.identity import bearer_token, has_name


@pytest.mark.parametrize(
    ("metadata", "token"),
    [
        ([("authorization", "Bearer abc")], "abc"),
        ([("x-request-id", "1"), ("authorization", "bearer  abc ")], "abc"),
        ([("authorization", "Basic abc")], ""),
        ([("authorization", b"Bearer abc")], ""),
        ([], ""),
    ],
    ids=["bearer", "any case, spaces", "another scheme", "bytes", "none"],
)
def test_a_token_is_what_follows_bearer(metadata: list[tuple[str, str | bytes]], token: str) -> None:
    assert bearer_token(metadata) == token


@pytest.mark.parametrize(
    ("sans", "is_borne"),
    [
        (["envoy.mesh.example"], True),
        (["other", "ENVOY.Mesh.example"], True),
        (["*.mesh.example"], True),
        (["*.example"], False),
        (["mesh.example"], False),
        (["*"], False),
        ([], False),
    ],
    ids=["equal", "any case", "wildcard", "wildcard of a wider domain", "parent", "star alone", "none"],
)
def test_a_certificate_bears_a_name_exactly_or_by_its_first_label(sans: list[str], is_borne: bool) -> None:  # noqa: FBT001
    assert has_name(sans, "envoy.mesh.example") is is_borne


def test_a_name_of_one_label_has_no_wildcard() -> None:
    assert not has_name(["*.", "*"], "envoy")
