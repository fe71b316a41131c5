"""What MkDocs does not do by itself: links out of docs/ name their file, for the site has no other files."""

import posixpath
import re

from mkdocs.structure.pages import Page

LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)\)")


def on_page_markdown(markdown: str, page: Page, **_) -> str:
    folder = posixpath.dirname(page.file.src_uri)

    def named(link: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        if not target.startswith("../"):
            return link[0]
        name = f"`{target.removeprefix('../')}`"
        return name if link[1].strip("`") == name.strip("`") else f"{link[1]} ({name})"

    return LINK.sub(named, markdown)
