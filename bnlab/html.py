"""HTML from plain functions: whatever is text is escaped, so that nothing in an answer can become an element."""

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *content: str, **attributes: str) -> Html:
    """Return an element with its content; an attribute `class_` is written `class`, `aria_label` is `aria-label`."""
    return Html(f"<{name}{_written(attributes)}>{joined(content)}</{name}>")


def void(name: str, /, **attributes: str) -> Html:
    """Return an element that can have no content."""
    return Html(f"<{name}{_written(attributes)}>")


def joined(parts: Iterable[str]) -> Html:
    """Return the parts one after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


Rows = Sequence[Sequence[str]]


def table(caption: str, columns: Sequence[str], groups: Sequence[tuple[str | None, Rows]]) -> Html:
    """Return a table with a caption; a group of rows may have a header, and the first cell of each row is its own.

    It scrolls by itself where it is wider than the page, with the keyboard too.
    """
    headers = 1 if all(header is None for header, _ in groups) else 2
    kinds = ["name"] * headers + ["number"] * (len(columns) - headers)
    names = (tag("th", column, scope="col", class_=kind) for column, kind in zip(columns, kinds, strict=True))
    head = tag("thead", tag("tr", *names))
    bodies = [_group(header, rows) for header, rows in groups]
    whole = tag("table", tag("caption", caption), head, *bodies)
    return tag("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption)


def terms(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return a list of names, each with what it stands for."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs))


def _group(header: str | None, rows: Rows) -> Html:
    first = [] if header is None else [tag("th", header, scope="rowgroup", rowspan=str(len(rows)))]
    return tag("tbody", *(_row(first if number == 0 else [], cells) for number, cells in enumerate(rows)))


def _row(first: Sequence[Html], cells: Sequence[str]) -> Html:
    return tag("tr", *first, tag("th", cells[0], scope="row"), *(tag("td", cell) for cell in cells[1:]))


def _written(attributes: dict[str, str]) -> str:
    names = {name: name.rstrip("_").replace("_", "-") for name in attributes}
    return "".join(f' {names[name]}="{escape(value)}"' for name, value in attributes.items())
