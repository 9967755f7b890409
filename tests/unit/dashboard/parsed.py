"""A page as a tree, by the standard library's parser: what a browser would take for text is text here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@dataclass
class Element:
    """An element with its attributes and what is in it."""

    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of its text, with single spaces."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for child in self.children:
            yield from [child] if isinstance(child, str) else child._texts()

    def __getitem__(self, name: str) -> str:
        """An attribute."""
        return self.attributes[name]

    def all(self, tag: str = "", **wanted: str) -> list[Element]:
        """Elements inside, by tag, attributes, and classes as `kind`."""
        return list(self._find(tag, wanted))

    def one(self, tag: str = "", **wanted: str) -> Element:
        """The only one."""
        found = self.all(tag, **wanted)
        assert len(found) == 1, f"{tag} {wanted}: {len(found)}"
        return found[0]

    def _find(self, tag: str, wanted: dict[str, str]) -> Iterator[Element]:
        for child in self.children:
            if isinstance(child, str):
                continue
            if tag in ("", child.tag) and all(child.has(name, value) for name, value in wanted.items()):
                yield child
            yield from child._find(tag, wanted)

    def has(self, name: str, value: str) -> bool:
        """Whether an attribute has a value, or a class is among others."""
        if name == "kind":
            return value in self.attributes.get("class", "").split()
        return self.attributes.get(name.replace("_", "-")) == value


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(made)
        if tag not in VOID:
            self.open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>: {self.open[-1].text[:80]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parsed(html: str) -> Element:
    """The page's tree; every element has to be closed."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder.open == [builder.root], f"never closed: {[each.tag for each in builder.open[1:]]}"
    return builder.root
