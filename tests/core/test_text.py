"""Text from outside cannot reach the terminal as anything but text."""

from hypothesis import given
from hypothesis import strategies as st

from mg_tui.core.text import one_line, printable


@given(st.text())
def test_no_control_character_survives(text: str) -> None:
    assert not any((ord(c) < 32 and c not in "\t\n") or 0x7F <= ord(c) <= 0x9F for c in printable(text))


@given(st.text(), st.integers(1, 20))
def test_one_line_is_one_line_and_no_longer_than_asked(text: str, limit: int) -> None:
    shown = one_line(text, limit=limit)
    assert "\n" not in shown and len(shown) <= limit


def test_escapes_and_reordering_are_made_visible() -> None:
    assert printable("a\x1b[2Jb\u202ec\r") == "a�[2Jb�c�"


def test_joiners_that_scripts_and_emoji_need_stay() -> None:
    assert printable("👩\u200d🔬") == "👩\u200d🔬"


def test_what_is_shown_can_be_encoded() -> None:
    assert printable("a\ud800b\u061c\U000e0041") == "a�b��"
    printable("\udfff").encode()
