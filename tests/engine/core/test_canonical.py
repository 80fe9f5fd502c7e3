import pytest

from engine.core.canonical import canonical, digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.5, 5e-1),
        (1, 1.0),
        (0.0, -0.0),
        ({"a": 1, "b": [1.0]}, {"b": (1,), "a": 1.0}),
    ],
)
def test_what_is_equal_is_spelt_the_same(one: object, other: object) -> None:
    assert canonical(one) == canonical(other)
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, "1"), (True, 1), (None, "null"), ([1, 2], [2, 1]), ("é", "e\u0301"), (0.1 + 0.2, 0.3)],
)
def test_what_differs_is_spelt_differently(one: object, other: object) -> None:
    assert canonical(one) != canonical(other)


def test_the_spelling_is_fixed() -> None:
    # Keys in stores were made from it: it must never change.
    spelt = canonical({"b": [1.0, 0.5, None, True], "a": "é"})
    assert spelt == '{"a":"é","b":[1,0.5,null,true]}'.encode()
    assert digest("x") == "ba2df4903a2c14e86dc3bcca58911b44ac1d2514b7227bf6eb08cfb978f55a1b"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_has_no_spelling_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical(value)
