"""A real browser for the page: tabs that fail their test when the page complains or asks another origin, and what is looked
for in every view: names, headings, landmarks, contrast, no overflow.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, Request, sync_playwright

#: How Chromium's word for an answer of 400 or more, or for none, begins.
REFUSED = "Failed to load resource"

#: Of every text that can be seen: its contrast, by WCAG 2.2, where it is under what its size needs.
_PALE = """() => {
  const channel = (value) => ((value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const read = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = read(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const pale = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest(".unseen, option, noscript")) continue;
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const [one, other] = [read(element.closest("svg") ? style.fill : style.color), ground(element)].map(light);
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < (size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5)) {
      pale.push(`${ratio.toFixed(2)} ${element.tagName}.${element.className} ${walker.currentNode.data}`);
    }
  }
  return pale;
}"""
_STRUCTURE = """() => {
  const wrong = [];
  const titles = [...document.querySelectorAll("h1, h2, h3, h4")].filter((one) => one.checkVisibility());
  const levels = titles.map((one) => +one.tagName[1]);
  const isAsked = document.querySelector("dialog[open]"); // the rest is inert
  if (!isAsked && (levels.filter((level) => level === 1).length !== 1 || levels[0] !== 1)) wrong.push(`headings ${levels}`);
  if (levels.some((level, at) => at && level > levels[at - 1] + 1)) wrong.push(`a level is left out: ${levels}`);
  for (const place of ["header", "main", "nav"]) {
    if (document.querySelectorAll(place).length !== 1) wrong.push(`not one ${place}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of ids.filter((one, at) => ids.indexOf(one) !== at)) wrong.push(`twice: #${id}`);
  for (const one of document.querySelectorAll("[aria-labelledby], [aria-describedby], label[for]")) {
    const names = ["aria-labelledby", "aria-describedby", "for"].flatMap((name) => (one.getAttribute(name) ?? "").split(" "));
    for (const id of names.filter((name) => name && !document.getElementById(name))) wrong.push(`nowhere: #${id}`);
  }
  for (const one of document.querySelectorAll("button, select, textarea, input[type=text], a.button")) {
    const { width, height } = one.getBoundingClientRect();
    if (one.checkVisibility() && (width < 24 || height < 24)) wrong.push(`too small: ${one.outerHTML}`);
  }
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) wrong.push(`${scrollWidth} px wide, in ${clientWidth}`);
  if (!document.documentElement.lang || !document.title) wrong.push("no language, or no title");
  return wrong;
}"""
#: Roles that say nothing to a screen reader without a name.
_NAMED = {
    "button", "link", "textbox", "combobox", "checkbox", "Iframe", "image", "table", "dialog", "alertdialog", "region",
    "heading", "navigation", "progressbar", "columnheader", "rowheader",
}  # fmt: skip


@contextmanager
def browser(chromium: str) -> Iterator[Browser]:
    """The browser, which ends with the block."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


@contextmanager
def tab(browser: Browser, url: str, meant: tuple[str, ...] = (), **how: Any) -> Iterator[Page]:
    """A fresh tab, nowhere yet, for paths of `url`. At its end nothing was complained of, and nobody else was asked; of
    complaints that are `meant`, these are the beginnings."""
    context = browser.new_context(base_url=url, **how)
    page, complaints = context.new_page(), list[str]()
    page.set_default_timeout(8_000)

    def asked(request: Request) -> None:
        if not request.url.startswith((f"{url}/", "blob:", "data:")):
            complaints.append(f"asked {request.url}")

    page.on("console", lambda one: complaints.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda one: complaints.append(str(one)))
    page.on("request", asked)
    try:
        yield page
        assert [one for one in complaints if not one.startswith(meant)] == []
    finally:
        context.close()


def faults(page: Page) -> list[str]:
    """What a person who sees little, or nothing, would stumble over."""
    found = [*page.evaluate(_STRUCTURE), *page.evaluate(_PALE)]
    session = page.context.new_cdp_session(page)
    for node in session.send("Accessibility.getFullAXTree")["nodes"]:
        role = node.get("role", {}).get("value")
        if not node.get("ignored") and role in _NAMED and not node.get("name", {}).get("value", "").strip():
            found.append(f"no name: {role} {node.get('properties')}")
    return found
