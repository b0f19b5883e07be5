"""A draft as rows of a form: basic fields, then the others by group, folded unless asked for."""

from collections.abc import Collection, Iterable
from pathlib import Path

from mg_tui.core.options import Option
from mg_tui.tui import words
from mg_tui.tui.new.draft import Draft, said
from mg_tui.tui.widgets.form.about import About
from mg_tui.tui.widgets.form.table import FormRow
from mg_tui.tui.words import written


def rows_of(draft: Draft, unfolded: Collection[str]) -> list[FormRow]:
    """The whole form."""
    rows = [row_of(draft, opt) for opt in draft.basic]
    for group, options in draft.groups.items():
        shown = group in unfolded
        changed = sum(draft.differs(opt.name) for opt in options)
        wrong = any(opt.name in draft.problems for opt in options)
        note = f"{words.count(len(options), 'option')}{f', {changed} changed' if changed else ''}"
        rows.append(FormRow(group, group, note, "group", changed=bool(changed), open=shown))
        rows += [row_of(draft, opt) for opt in options if shown or (wrong and opt.name in draft.problems)]
    return rows


def rows_that_differ(draft: Draft) -> list[FormRow]:
    """Only what differs from the defaults, and what is wrong."""
    changed = set(draft.changed()) | set(draft.problems)
    return [row_of(draft, opt) for opt in draft.options.values() if opt.name in changed]


def rows_like(draft: Draft, query: str) -> list[FormRow]:
    """Only the fields that have every word of `query` in their name, title, group or help."""
    wanted = query.casefold().split()
    found = [opt for opt in draft.options.values() if _has(_words_of(opt), wanted)]
    found.sort(key=lambda opt: not _has(f"{opt.title} {opt.name}".casefold(), wanted))  # what is called so, first
    return [row_of(draft, opt) for opt in found]


def row_of(draft: Draft, opt: Option) -> FormRow:
    """One field."""
    return FormRow(
        id=opt.name,
        title=opt.title,
        value=_shown(draft, opt),
        kind="path" if opt.known else opt.kind,  # of a name on the hub, too, the end says most
        unit=opt.unit or "",
        changed=draft.differs(opt.name),
        wrong=opt.name in draft.problems,
        needed=opt.name in draft.missing,
    )


def _shown(draft: Draft, opt: Option) -> str:
    """A value as it is read: large whole numbers with their thousands apart."""
    value = draft.value(opt.name)
    if opt.kind == "integer" and str(value).isdecimal() and int(value) >= 10_000:
        return f"{int(value):,}"
    return draft.text(opt.name)


def about_field(draft: Draft, name: str, defaults_from: str | None) -> About:
    """What is said of a field."""
    opt = draft.options[name]
    problem = draft.problems.get(name)
    default = "required" if opt.required else f"default {written(opt.default) or 'none'}"
    said_so = draft.default_of(name)
    if said_so is not None:
        default += f" · {Path(defaults_from).name if defaults_from else 'garden.toml'} says {written(said_so)}"
    note = opt.flag + (f" · {opt.unit}" if opt.unit else "")
    accepted = opt.accepted[:1].upper() + opt.accepted[1:] + "."
    return About(opt.title, note, opt.help, accepted, said(problem) if problem else "", default)


def about_group(draft: Draft, group: str) -> About:
    """What is said of a folded group: what is in it."""
    names = ", ".join(opt.title for opt in draft.groups.get(group, ()))
    return About(group, help=names, accepted="enter unfolds and folds it; / finds an option by its words.")


def _words_of(opt: Option) -> str:
    return f"{opt.name} {opt.flag} {opt.title} {opt.group} {opt.help}".casefold()


def _has(text: str, wanted: Iterable[str]) -> bool:
    return all(word in text for word in wanted)
