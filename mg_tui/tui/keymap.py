"""`[keys]` of garden.toml: the keys that a person gives to actions, validated before they are used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mg_tui.core.text import did_you_mean
from mg_tui.tui.actions import ACTIONS, ACTIONS_BY_ID, SCOPE_TITLES, Action

_MODIFIERS = ("ctrl", "shift", "alt", "super", "hyper", "meta")
# Scopes that are active on every screen, or in widgets that most screens have.
_GLOBAL_SCOPES = frozenset({"app", "list", "log", "form"})
# Ids of actions in earlier versions, and their ids now; both work in [keys].
RENAMED_ACTIONS: Final[Mapping[str, str]] = {
    "chat.picture": "chat.image",
    "dataset.picture": "dataset.image",
    "picture.after": "image.after",
    "picture.back": "image.back",
    "picture.before": "image.before",
    "run.picture": "run.image",
}


@dataclass(frozen=True, slots=True)
class KeymapProblem:
    """An invalid entry of [keys], and why."""

    action: str
    keys: str
    why: str

    def __str__(self) -> str:
        return f"[keys] {self.action}: got {self.keys!r}; {self.why}"


def find_problems(keymap: Mapping[str, str]) -> list[KeymapProblem]:
    """The problems of a keymap: unknown actions, invalid keys, and keys of two actions that are active together."""
    current = current_ids(keymap)
    problems = []
    for name, keys in keymap.items():
        action = ACTIONS_BY_ID.get(RENAMED_ACTIONS.get(name, name))
        if action is None:
            problems.append(KeymapProblem(name, keys, f"unknown action{_suggest_action(name)}"))
            continue
        invalid = [key for key in parse_keys(keys) if not is_key(key)]
        if invalid:
            problems.append(KeymapProblem(name, keys, f"{invalid[0]!r} is not a key; use e.g. ctrl+r, f2, slash or x"))
        problems += [KeymapProblem(name, keys, why) for why in _find_conflicts(action, current)]
    return problems


def current_ids(keymap: Mapping[str, str]) -> dict[str, str]:
    """The keymap with ids of earlier versions replaced; an entry under the current id wins."""
    renamed = {RENAMED_ACTIONS[id]: keys for id, keys in keymap.items() if id in RENAMED_ACTIONS}
    return {**renamed, **{id: keys for id, keys in keymap.items() if id not in RENAMED_ACTIONS}}


def usable_keymap(keymap: Mapping[str, str]) -> dict[str, str]:
    """The entries without a problem, with current ids, as Textual takes them."""
    bad = {problem.action for problem in find_problems(keymap)}
    usable = current_ids({id: keys for id, keys in keymap.items() if id not in bad})
    return {id: ",".join(parse_keys(keys)) for id, keys in usable.items()}


def parse_keys(keys: str) -> tuple[str, ...]:
    """The keys of an entry, in Textual's names."""
    from textual.binding import Binding

    parsed = Binding.make_bindings([Binding(keys or "x", "x", "x")])
    return tuple(dict.fromkeys(binding.key for binding in parsed))


def keys_for(action: Action, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of an action under a keymap with current ids."""
    return parse_keys(keymap[action.id]) if action.id in keymap else action.keys


def is_key(key: str) -> bool:
    """Whether a terminal can send such a key."""
    from textual.keys import Keys, _character_to_key

    *modifiers, last = key.split("+")
    if any(modifier not in _MODIFIERS for modifier in modifiers):
        return False
    characters = {_character_to_key(chr(code)) for code in range(33, 127)}  # `question_mark` for ?, and so on
    return len(last) == 1 or last in characters or last in {item.value for item in Keys}


def _find_conflicts(action: Action, keymap: Mapping[str, str]) -> Iterator[str]:
    keys = set(keys_for(action, keymap))
    for other in ACTIONS:
        if other.id == action.id or not _active_together(action, other):
            continue
        shared = keys & set(keys_for(other, keymap))
        if shared and shared - (set(action.keys) & set(other.keys)):
            yield f"{sorted(shared)[0]} is {other.title} ({other.id}) {_describe_scope(other)}"


def _active_together(first: Action, second: Action) -> bool:
    """Whether both actions can be active at the same moment."""
    if first.scope == second.scope:
        return True
    if not ({first.scope, second.scope} & _GLOBAL_SCOPES):
        return False
    # Scopes that share a key by default are never active together, or the focus decides between them.
    keys = {key for action in ACTIONS if action.scope == first.scope for key in action.keys}
    return not keys & {key for action in ACTIONS if action.scope == second.scope for key in action.keys}


def _describe_scope(action: Action) -> str:
    return f"in “{SCOPE_TITLES[action.scope]}”"


def _suggest_action(name: str) -> str:
    return did_you_mean(name, ACTIONS_BY_ID) or "; docs/keys.md lists them"
