"""Checks every link of the built site: `python docs/check_links.py docs-site`. Pages, files and anchors must be there."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, and what it links to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the tag names, and what it links to."""
        found = dict(attrs)
        self.anchors |= {name for name in (found.get("id"), found.get("name") if tag == "a" else None) if name}
        self.links += [link for key in ("href", "src") if (link := found.get(key))]


def faults(site: Path) -> tuple[int, list[str]]:
    """Return the number of links inside the site, and those that lead nowhere, as "PAGE: LINK"."""
    pages = {file.resolve(): Page(file) for file in sorted(site.rglob("*.html"))}
    checked, wrong = 0, []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or file.name == "404.html":
                continue
            checked += 1
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].anchors if target in pages else {""}
            if not target.is_file() or unquote(parts.fragment) not in anchors:
                wrong.append(f"{file.relative_to(site.resolve())}: {link}")
    return checked, wrong


if __name__ == "__main__":
    number, nowhere = faults(Path(sys.argv[1]))
    sys.stdout.write("".join(f"leads nowhere: {line}\n" for line in nowhere) + f"{number} links checked\n")
    sys.exit(1 if nowhere or not number else 0)
