import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_tui.engine.serving.stop_strings import StopStrings


def feed(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    stop = StopStrings(stops)
    passed = [stop.feed(piece) for piece in pieces]
    return "".join(passed) + stop.finish(), stop.found


@pytest.mark.parametrize(
    ("pieces", "stops", "text"),
    [
        (["one two three"], ["two"], "one "),
        (["one t", "w", "o three"], ["two"], "one "),
        (["one t", "w"], ["two"], "one tw"),
        (["aab"], ["ab"], "a"),
        (["aa", "aab"], ["aaab"], "a"),
        (["b then a"], ["a", "b"], ""),
        (["aca"], ["aca", "c"], "a"),
        (["a", "c", "a"], ["aca", "c"], "a"),
        (["abc"], ["c", "bc"], "a"),
        (["x\n", "\ny"], ["\n\n"], "x"),
        (["nothing"], [], "nothing"),
    ],
)
def test_text_ends_before_the_first_stop_string(pieces: list[str], stops: list[str], text: str) -> None:
    assert feed(stops, pieces) == (text, text != "".join(pieces))


@given(
    st.lists(st.text("abc", max_size=4), max_size=12),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_the_pieces_do_not_matter(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    ends = (end for end in range(1, len(text) + 1) if text[:end].endswith(tuple(stops)))
    end = next(ends, None)
    if end is None:
        assert feed(stops, pieces) == (text, False)
    else:
        longest = max(len(stop) for stop in stops if text[:end].endswith(stop))
        assert feed(stops, pieces) == (text[: end - longest], True)


def test_text_that_cannot_begin_a_stop_string_is_passed_on_at_once() -> None:
    stop = StopStrings(["STOP"])
    assert stop.feed("hello S") == "hello "
    assert stop.feed("un") == "Sun"
