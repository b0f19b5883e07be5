"""The keys of actions as a person wants them: `[keys]` of garden.toml, checked before they are used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mg_tui.tui.actions import ACTIONS, BY_ID, PLACES, Action

_MODIFIERS = ("ctrl", "shift", "alt", "super", "hyper", "meta")
# Bindings of these hold on every screen, or in what most screens are made of.
_EVERYWHERE = frozenset({"app", "list", "log", "form"})


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """An entry of [keys] that cannot be used, and why."""

    action: str
    keys: str
    why: str

    def __str__(self) -> str:
        return f"[keys] {self.action}: got {self.keys!r}; {self.why}"


def problems(keymap: Mapping[str, str]) -> list[KeyProblem]:
    """What is wrong with a keymap: actions and keys there are not, and keys that would mean two things."""
    found = []
    for name, keys in keymap.items():
        action = BY_ID.get(name)
        if action is None:
            found.append(KeyProblem(name, keys, f"there is no such action{_nearest(name)}"))
            continue
        wrong = [key for key in split(keys) if not is_key(key)]
        if wrong:
            found.append(KeyProblem(name, keys, f"{wrong[0]!r} is no key; give e.g. ctrl+r, f2, slash or x"))
        found += [KeyProblem(name, keys, why) for why in _conflicts(action, keymap)]
    return found


def usable(keymap: Mapping[str, str]) -> dict[str, str]:
    """The entries with which nothing is wrong, as Textual takes them."""
    bad = {problem.action for problem in problems(keymap)}
    return {name: ",".join(split(keys)) for name, keys in keymap.items() if name not in bad}


def split(keys: str) -> tuple[str, ...]:
    """The keys of an entry, in Textual's names."""
    from textual.binding import Binding

    made = Binding.make_bindings([Binding(keys or "x", "x", "x")])
    return tuple(dict.fromkeys(binding.key for binding in made))


def keys_of(action: Action, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of an action with a keymap."""
    return split(keymap[action.id]) if action.id in keymap else action.keys


def is_key(key: str) -> bool:
    """Whether a terminal may send such a key."""
    from textual.keys import Keys, _character_to_key

    *before, last = key.split("+")
    if any(modifier not in _MODIFIERS for modifier in before):
        return False
    typed = {_character_to_key(chr(code)) for code in range(33, 127)}  # `question_mark` for ?, and so on
    return len(last) == 1 or last in typed or last in {item.value for item in Keys}


def _conflicts(action: Action, keymap: Mapping[str, str]) -> Iterator[str]:
    mine = set(keys_of(action, keymap))
    for other in ACTIONS:
        if other.id == action.id or not _meet(action, other):
            continue
        both = mine & set(keys_of(other, keymap))
        if both and both - (set(action.keys) & set(other.keys)):
            yield f"{sorted(both)[0]} is {other.title} ({other.id}) {_where(other)}"


def _meet(one: Action, other: Action) -> bool:
    """Whether both can be asked for at the same moment."""
    if one.where == other.where:
        return True
    if not ({one.where, other.where} & _EVERYWHERE):
        return False
    # What already share a key are never on the screen together, or the one that has the focus is meant.
    mine = {key for action in ACTIONS if action.where == one.where for key in action.keys}
    return not mine & {key for action in ACTIONS if action.where == other.where for key in action.keys}


def _where(action: Action) -> str:
    place = PLACES[action.where]
    return f"in “{place}”"


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, list(BY_ID), n=1)
    return f"; did you mean {close[0]}?" if close else "; docs/keys.md lists them"
