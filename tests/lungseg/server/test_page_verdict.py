"""How the page shows a verdict: expected Dice, uncertain area, and rejected images without their mask."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager

from films import packaged
from page_driver import PageDriver
from PIL import Image

from lungseg.encode.png import own_png
from lungseg.encode.preview import preview_png
from lungseg.pipeline.reasons import DOUBTFUL_MASK
from lungseg.pipeline.segment import segment


@contextmanager
def doubtful_answers(browser: PageDriver, image: bytes) -> Iterator[None]:
    """Have the server answer that the mask of ``image`` is doubtful."""
    with Image.open(io.BytesIO(preview_png(segment(image)))) as preview:
        facts = json.loads(preview.text["document"])
        reason = {"code": DOUBTFUL_MASK.code, "decision": "review", "text": DOUBTFUL_MASK.text}
        facts["verdict"] |= {"decision": "review", "reasons": [reason], "expected_dice": 0.9}
        answer = own_png(preview.copy(), {"document": json.dumps(facts)})
    browser.page.route("**/v1/segment*", lambda route: route.fulfill(body=answer))
    yield
    browser.page.unroute("**/v1/segment*")


def test_expected_dice_is_shown(browser: PageDriver, small: bytes) -> None:
    browser.show("a.png", small)
    assert browser.page.text_content("#expected-dice") == f"{segment(small).verdict.expected_dice:.2f}"
    assert "estimated overlap with a mask drawn by hand" in browser.page.text_content(".verdict")


def test_uncertain_area_is_drawn_on_request(browser: PageDriver, rg1_png: bytes) -> None:
    browser.show("chest.png", rg1_png)
    page = browser.page
    assert page.is_hidden("#doubt-meaning")
    for switch in ("fill", "contour", "letters"):
        page.uncheck(f"#{switch}")
    assert browser.painted() == 0
    page.check("#doubt")
    assert page.is_visible("#doubt-meaning")
    band = browser.painted()
    page.uncheck("#doubt")
    page.check("#fill")
    assert 0 < band < browser.painted() / 2
    assert browser.complaints == []


def test_uncertain_area_of_a_doubtful_mask_is_drawn_at_once(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    with doubtful_answers(browser, small):
        browser.show("a.png", small)
        assert page.text_content("#decision") == "Review"
        assert page.is_checked("#doubt")
        assert page.is_visible("#doubt-key")
        page.uncheck("#doubt")
        browser.show("b.png", small)
        assert not page.is_checked("#doubt")


def test_rejected_image_shows_no_mask_until_asked(browser: PageDriver) -> None:
    page = browser.page
    image = packaged("CT_small.dcm").read_bytes()
    browser.show("ct.dcm", image)
    assert page.text_content("#decision") == "Reject"
    assert browser.painted() == 0
    offered = "[...document.querySelectorAll('#files button')].filter(each => each.checkVisibility()).length"
    assert page.evaluate(offered) == 1
    assert page.is_visible("[data-name=json]")
    assert page.is_hidden("#threshold")
    assert page.is_hidden("[data-lung=both]")
    assert page.get_attribute("#stage canvas", "aria-label") == "The image. Verdict: reject. The mask is not shown."
    assert json.loads(browser.download("[data-name=json]")[1])["verdict"]["decision"] == "reject"

    page.click("text=Show the mask anyway")
    assert browser.painted() > 0
    assert page.evaluate(offered) > 5
    assert browser.download("[data-name=mask]")[1] == browser.segment("mask", 0.5, image)
    browser.press("End")
    page.click("#measure")
    page.wait_for_function("() => document.getElementById('measure').hidden")
    page.click("text=Hide the mask")
    assert browser.painted() == 0
    assert page.evaluate(offered) == 1


def test_accepted_image_has_no_button_to_show_the_mask(browser: PageDriver, small: bytes) -> None:
    browser.show("a.png", small)
    assert page_buttons(browser) == []


def page_buttons(browser: PageDriver) -> list[str]:
    """Return the visible buttons of the verdict."""
    return browser.page.evaluate(
        "[...document.querySelectorAll('.verdict button')].filter(e => e.checkVisibility()).map(e => e.textContent)"
    )
