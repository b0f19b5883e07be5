"""The keys of actions as a person wants them: `[keys]` of garden.toml, checked before they are used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mg_tui.core.text import did_you_mean
from mg_tui.tui.actions import ACTIONS, ACTIONS_BY_ID, SCOPE_TITLES, Action

_MODIFIERS = ("ctrl", "shift", "alt", "super", "hyper", "meta")
# Bindings of these hold on every screen, or in what most screens are made of.
_GLOBAL_SCOPES = frozenset({"app", "list", "log", "form"})


@dataclass(frozen=True, slots=True)
class KeymapProblem:
    """An entry of [keys] that cannot be used, and why."""

    action: str
    keys: str
    why: str

    def __str__(self) -> str:
        return f"[keys] {self.action}: got {self.keys!r}; {self.why}"


def find_problems(keymap: Mapping[str, str]) -> list[KeymapProblem]:
    """What is wrong with a keymap: actions and keys there are not, and keys that would mean two things."""
    found = []
    for name, keys in keymap.items():
        action = ACTIONS_BY_ID.get(name)
        if action is None:
            found.append(KeymapProblem(name, keys, f"there is no such action{_suggest_action(name)}"))
            continue
        wrong = [key for key in parse_keys(keys) if not is_key(key)]
        if wrong:
            found.append(KeymapProblem(name, keys, f"{wrong[0]!r} is no key; give e.g. ctrl+r, f2, slash or x"))
        found += [KeymapProblem(name, keys, why) for why in _find_conflicts(action, keymap)]
    return found


def usable_keymap(keymap: Mapping[str, str]) -> dict[str, str]:
    """The entries with which nothing is wrong, as Textual takes them."""
    bad = {problem.action for problem in find_problems(keymap)}
    return {name: ",".join(parse_keys(keys)) for name, keys in keymap.items() if name not in bad}


def parse_keys(keys: str) -> tuple[str, ...]:
    """The keys of an entry, in Textual's names."""
    from textual.binding import Binding

    made = Binding.make_bindings([Binding(keys or "x", "x", "x")])
    return tuple(dict.fromkeys(binding.key for binding in made))


def keys_for(action: Action, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of an action with a keymap."""
    return parse_keys(keymap[action.id]) if action.id in keymap else action.keys


def is_key(key: str) -> bool:
    """Whether a terminal may send such a key."""
    from textual.keys import Keys, _character_to_key

    *before, last = key.split("+")
    if any(modifier not in _MODIFIERS for modifier in before):
        return False
    typed = {_character_to_key(chr(code)) for code in range(33, 127)}  # `question_mark` for ?, and so on
    return len(last) == 1 or last in typed or last in {item.value for item in Keys}


def _find_conflicts(action: Action, keymap: Mapping[str, str]) -> Iterator[str]:
    mine = set(keys_for(action, keymap))
    for other in ACTIONS:
        if other.id == action.id or not _active_together(action, other):
            continue
        both = mine & set(keys_for(other, keymap))
        if both and both - (set(action.keys) & set(other.keys)):
            yield f"{sorted(both)[0]} is {other.title} ({other.id}) {_describe_scope(other)}"


def _active_together(one: Action, other: Action) -> bool:
    """Whether both can be asked for at the same moment."""
    if one.scope == other.scope:
        return True
    if not ({one.scope, other.scope} & _GLOBAL_SCOPES):
        return False
    # What already share a key are never on the screen together, or the one that has the focus is meant.
    mine = {key for action in ACTIONS if action.scope == one.scope for key in action.keys}
    return not mine & {key for action in ACTIONS if action.scope == other.scope for key in action.keys}


def _describe_scope(action: Action) -> str:
    place = SCOPE_TITLES[action.scope]
    return f"in “{place}”"


def _suggest_action(name: str) -> str:
    return did_you_mean(name, ACTIONS_BY_ID) or "; docs/keys.md lists them"
