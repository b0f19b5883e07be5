"""A draft as rows of a form: basic fields, then the others in groups that fold."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from mg_tui.core.options import Option, find_by_synonym
from mg_tui.tui import formatting
from mg_tui.tui.form_row import FieldHelp, FormRow
from mg_tui.tui.formatting import as_typed
from mg_tui.tui.new.draft import SpecDraft, format_problem


def build_rows(draft: SpecDraft[Any], expanded_groups: Collection[str]) -> list[FormRow]:
    """The whole form; of folded groups only the fields with a problem."""
    rows = [build_row(draft, opt) for opt in draft.basic_options]
    for group, options in draft.advanced_groups.items():
        expanded = group in expanded_groups
        changed = sum(draft.is_changed(opt.name) for opt in options)
        note = f"{formatting.count(len(options), 'option')}{f', {changed} changed' if changed else ''}"
        rows.append(FormRow(group, group, note, "group", changed=bool(changed), expanded=expanded))
        rows += [build_row(draft, opt) for opt in options if expanded or opt.name in draft.problems]
    return rows


def build_changed_rows(draft: SpecDraft[Any]) -> list[FormRow]:
    """Only the fields that differ from their defaults or have a problem."""
    changed = set(draft.changed_fields()) | set(draft.problems)
    return [build_row(draft, opt) for opt in draft.options.values() if opt.name in changed]


def search_rows(draft: SpecDraft[Any], query: str) -> list[FormRow]:
    """Only the fields that have every word of `query` in their name, synonyms, title, group or help; names first.

    A word that is the name of another tool's option, with `_`, `-` or blanks, finds ours before all others.
    """
    words = query.casefold().replace("_", " ").replace("-", " ").split()
    matches = [opt for opt in draft.options.values() if _contains_all(_search_text(opt), words)]
    named = find_by_synonym(query, draft.options.values())

    def rank(opt: Option) -> int:
        if _contains_all(f"{opt.title} {opt.name}".casefold(), words):
            return 0
        if named is not None and opt is named[0]:
            return 1
        return 2 if _contains_all(_synonym_text(opt), words) else 3

    matches.sort(key=rank)
    return [build_row(draft, opt) for opt in matches]


def build_row(draft: SpecDraft[Any], opt: Option) -> FormRow:
    """One field."""
    return FormRow(
        id=opt.name,
        title=opt.title,
        value=_format_value(draft, opt),
        kind="path" if opt.known else opt.kind,  # drawn from its end, which tells paths and names on the hub apart
        unit=opt.unit or "",
        changed=draft.is_changed(opt.name),
        invalid=opt.name in draft.problems,
        missing=opt.name in draft.missing,
    )


def _format_value(draft: SpecDraft[Any], opt: Option) -> str:
    """A value as shown: large whole numbers with thousands separators."""
    value = draft.value(opt.name)
    if opt.kind == "integer" and str(value).isdecimal() and int(value) >= 10_000:
        return f"{int(value):,}"
    return draft.text(opt.name)


def describe_field(draft: SpecDraft[Any], name: str, defaults_from: str | None) -> FieldHelp:
    """The help of a field; `defaults_from`: the file or variable that configures its default."""
    opt = draft.options[name]
    problem = draft.problems.get(name)
    default = "required" if opt.required else f"default {as_typed(opt.default) or 'none'}"
    configured = draft.configured_default(name)
    if configured is not None:
        default += f" · {Path(defaults_from).name if defaults_from else 'garden.toml'} says {as_typed(configured)}"
    note = opt.flag + (f" · {opt.unit}" if opt.unit else "")
    accepted = opt.accepted[:1].upper() + opt.accepted[1:] + "."
    return FieldHelp(opt.title, note, opt.help, accepted, format_problem(problem) if problem else "", default)


def describe_group(draft: SpecDraft[Any], group: str) -> FieldHelp:
    """The help of a group: its fields."""
    names = ", ".join(opt.title for opt in draft.advanced_groups.get(group, ()))
    return FieldHelp(group, help=names, accepted="enter expands or collapses it; / finds an option.")


def _search_text(opt: Option) -> str:
    text = f"{opt.name} {opt.flag} {opt.title} {opt.group} {opt.help} {' '.join(opt.choices)}".casefold()
    return f"{text} {text.replace('_', ' ').replace('-', ' ')} {_synonym_text(opt)}"


def _synonym_text(opt: Option) -> str:
    return " ".join(opt.synonyms).casefold().replace("_", " ").replace("-", " ")


def _contains_all(text: str, words: Iterable[str]) -> bool:
    return all(word in text for word in words)
