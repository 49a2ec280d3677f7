"""The page on a phone, for screen readers, in both colour schemes and in another language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from films import packaged
from page_driver import PageDriver

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LONG_NAME = f"{'x' * 60}.png"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}


@pytest.fixture
def phone(chromium: Browser, server: str) -> Iterator[PageDriver]:
    """The page on a phone."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.set_default_timeout(60_000)
    yield PageDriver(context.new_page(), server).open()
    context.close()


def widths(driver: PageDriver) -> tuple[int, int]:
    """Return the page's scrollable and visible width."""
    return tuple(driver.page.evaluate("[document.documentElement.scrollWidth, innerWidth]"))


def test_phone_does_not_scroll_sideways_whatever_the_name(phone: PageDriver, small: bytes) -> None:
    assert len(LONG_NAME) == 64
    assert widths(phone) == (390, 390)
    phone.choose((LONG_NAME, b"not an image"))
    phone.page.wait_for_selector("#refusal:not([hidden])")
    assert widths(phone) == (390, 390)
    phone.show(LONG_NAME, small)
    assert widths(phone) == (390, 390)
    others = [(f"{number}{LONG_NAME}", small) for number in range(8)]
    phone.choose(*others, (f"broken{LONG_NAME}", b"not an image"))
    assert widths(phone) == (390, 390)
    phone.wait_finished()
    phone.wait_shown(f"0{LONG_NAME}")
    assert widths(phone) == (390, 390)
    phone.download("[data-name=mask]")
    assert widths(phone) == (390, 390)
    phone.page.click(".thumb >> nth=9")
    phone.page.wait_for_selector("#failed-image:not([hidden])")
    assert widths(phone) == (390, 390)
    assert phone.complaints == [each for each in phone.complaints if "415" in each]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_page_is_accessible(chromium: Browser, server: str, small: bytes, scheme: str, size: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    width, height = SIZES[size]
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(60_000)
    driver = PageDriver(context.new_page(), server).open()
    page = driver.page

    def violations() -> list[str]:
        found = axe.run(page).response["violations"]
        return [f"{each['id']}: {node['target']} {node['failureSummary']}" for each in found for node in each["nodes"]]

    assert violations() == []
    driver.show("a.png", small)
    assert violations() == []
    driver.choose(("ct.dcm", packaged("CT_small.dcm").read_bytes()), ("broken.png", b"not an image"))
    driver.wait_shown("ct.dcm")
    driver.wait_finished()
    assert violations() == []
    page.click("#reveal")
    page.check("#doubt")
    assert violations() == []
    page.click(".thumb >> nth=2")
    page.wait_for_selector("#failed-image:not([hidden])")
    assert violations() == []
    page.click("#clear")
    driver.choose(("broken.png", b"not an image"))
    page.wait_for_selector("#refusal:not([hidden])")
    assert violations() == []
    context.close()


TRANSLATE = """
const wrap = (text) => "«" + text.replace(/[A-Za-z](?![^{]*\\\\})/g, "ж") + "»";
const translate = (table) => {
  for (const [key, value] of Object.entries(table)) {
    if (key === "language") continue;
    if (typeof value === "string") table[key] = wrap(value);
    else translate(value);
  }
};
translate(STRINGS);
STRINGS.language = "ru";
STRINGS.reasons["not-frontal"] = "ж";
STRINGS.problems["unsupported-format"] = { title: "жж", detail: "жж", remedy: "жж" };
"""

ENGLISH = """() => {
    const own = "code, #name, #failed-name, #model, #stages";
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const { parentElement, textContent } = walker.currentNode;
        const isShown = parentElement.checkVisibility() || parentElement.closest("option");
        const words = [...SERVER.imageFormats, ".json"];
        const text = words.reduce((rest, word) => rest.replace(word, ""), textContent);
        if (isShown && !parentElement.closest(own) && /[A-Za-z]{3}/.test(text)) found.push(textContent.trim());
    }
    for (const each of document.querySelectorAll("[aria-label]"))
        if (/[A-Za-z]{3}/.test(each.ariaLabel)) found.push(each.ariaLabel);
    return found;
}"""


def test_every_text_can_be_translated(browser: PageDriver, small: bytes) -> None:
    browser.replace_strings(TRANSLATE)
    page = browser.page
    assert page.evaluate(ENGLISH) == []
    assert page.evaluate("[document.documentElement.lang, document.title]") == ["ru", "«жжжж жжжжжжжжжжжж»"]
    browser.show("2", small)
    assert page.evaluate(ENGLISH) == []
    browser.choose(("3", b"not an image"), ("4", small))
    browser.wait_finished()
    page.wait_for_selector("#failed-image:not([hidden])")
    assert page.text_content("#failure h2") == "жж"
    assert page.evaluate(ENGLISH) == []
    page.click(".thumb >> nth=2")
    browser.wait_shown("4")
    browser.press("Home")
    page.check("#doubt")
    browser.download("[data-name=json]")
    browser.download("#bulk")
    assert page.evaluate(ENGLISH) == []


def test_texts_stand_in_the_strings_alone(browser: PageDriver) -> None:
    page = browser.page
    keys = page.evaluate("[...document.querySelectorAll('[data-text]')].map(each => each.dataset.text)")
    labels = page.evaluate("[...document.querySelectorAll('[data-label]')].map(each => each.dataset.label)")
    assert set(keys + labels) <= set(page.evaluate("Object.keys(STRINGS)"))
    assert page.evaluate("document.body.innerText.includes('undefined')") is False
