from __future__ import annotations

from typing import TypeAlias

import pytest

from serving.yaml_nodes import Bounds, DocumentError, Items, Node, Pairs, Scalar, compose

BOUNDS = Bounds(nodes_max=100, depth_max=5)

Plain: TypeAlias = "str | list[Plain] | list[tuple[Plain, Plain]] | None"


def plain(node: Node | None) -> Plain:
    match node:
        case None:
            return None
        case Scalar():
            return node.text
        case Items():
            return [plain(item) for item in node.items]
        case Pairs():
            return [(plain(key), plain(value)) for key, value in node.pairs]


def read(text: str | bytes, bounds: Bounds = BOUNDS) -> Plain:
    return plain(compose(text if isinstance(text, bytes) else text.encode(), bounds))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only words\n", None),
        ("x", "x"),
        ("---\nx\n...\n", "x"),
        ("\ufeffx", "x"),
        ("[a, [b], {}]", ["a", ["b"], []]),
        ("{a: 1, a: 2}", [("a", "1"), ("a", "2")]),
        ("x: 1\n---\n] nonsense", [("x", "1")]),
        ("[&a x, *a]", ["x", "x"]),
        ("[&a x, &a y, *a]", ["x", "y", "y"]),
        ("é".encode("utf-16"), "é"),
    ],
    ids=lambda item: repr(item)[:20],
)
def test_a_document_is_read(text: str, value: Plain) -> None:
    assert read(text) == value


def test_every_node_knows_its_line() -> None:
    root = compose(b"a:\n- 1\n- {b: 2}\n", BOUNDS)

    assert isinstance(root, Pairs)
    key, value = root.pairs[0]
    assert isinstance(value, Items)
    assert (root.line, key.line, value.line, [item.line for item in value.items]) == (1, 1, 2, [2, 3])


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: 1\nb: [", "did not find expected", 3),
        ("a:\n\t- b", "found character that cannot start any token", 2),
        ("x: 1\ny: *b", "unknown anchor 'b' referenced", 2),
        ("&a [1, *a]", "anchor 'a' value contains itself", 1),
        (b"a: 1\nb: \xff", "invalid leading UTF-8 octet", 2),
        ("a: 1\nb: \x00", "control characters are not allowed", 2),
        ("[[[[[[1]]]]]]", "nested more than 5 deep", 1),
        ("- &a [[[1]]]\n- [[*a]]", "nested more than 5 deep", 2),
        ("[" + "1, " * 100 + "]", "more than 100 values, aliases written out", 1),
    ],
    ids=lambda item: repr(item)[:20],
)
def test_what_is_no_document_is_refused_with_its_line(text: str | bytes, message: str, line: int) -> None:
    with pytest.raises(DocumentError, match=message) as error:
        read(text)

    assert error.value.line == line


def test_the_depth_that_is_allowed_is_allowed() -> None:
    assert read("- &a [[1]]\n- [*a]") == [[["1"]], [[["1"]]]]


def test_a_billion_laughs_are_cut_short() -> None:
    bomb = "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30))

    with pytest.raises(DocumentError, match="more than 1000000 values"):
        read(bomb, Bounds(nodes_max=1_000_000, depth_max=100))


def test_a_million_open_brackets_are_cut_short() -> None:
    with pytest.raises(DocumentError, match="nested more than 100 deep"):
        read("[" * 1_000_000, Bounds(nodes_max=1_000_000, depth_max=100))
