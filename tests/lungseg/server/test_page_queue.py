"""The page with several images: the queue, its thumbnails, busy servers, and all results as one ZIP."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING

from films import packaged
from page_driver import PageDriver

if TYPE_CHECKING:
    from playwright.sync_api import Route

SEGMENT = "**/v1/segment*"
CURRENT = "queue.indexOf(current)"


def test_failure_of_one_image_does_not_stop_the_others(browser: PageDriver, small: bytes, rg1_png: bytes) -> None:
    page = browser.page
    assert page.is_hidden("#queue")
    browser.choose(
        ("a.png", small), ("broken.png", rg1_png[:5000]), ("c.png", small), ("d.txt", b"hello"), ("e.png", small)
    )
    browser.wait_shown("a.png")
    browser.wait_finished()
    assert browser.states() == ["accept", "failed", "accept", "failed", "accept"]
    labels = page.evaluate("[...document.querySelectorAll('.thumb')].map(each => each.ariaLabel)")
    assert labels[:2] == ["1. a.png: accept", "2. broken.png: failed"]
    assert page.text_content("#queue-state") == "1 of 5"

    page.click("#next")
    page.wait_for_selector("#failed-image:not([hidden])")
    assert page.text_content("#failed-name") == "broken.png"
    assert "What to do:" in page.text_content("#failure")
    page.keyboard.press("ArrowRight")
    browser.wait_shown("c.png")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    browser.wait_shown("a.png")
    assert page.is_disabled("#previous")
    page.click(".thumb >> nth=4")
    browser.wait_shown("e.png")
    assert page.is_disabled("#next")
    assert page.get_attribute(".thumb >> nth=4", "aria-current") == "true"
    for _ in range(4):
        page.click("#previous")
    browser.wait_shown("a.png")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#failed-image:not([hidden])")


def test_arrow_keys_pan_a_zoomed_image_and_move_a_slider(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    browser.choose(("a.png", small), ("b.png", small))
    browser.wait_finished()
    browser.wait_shown("a.png")
    browser.press("ArrowRight")
    page.focus("#stage")
    page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(CURRENT) == 0
    page.keyboard.press("0")
    page.keyboard.press("ArrowRight")
    browser.wait_shown("b.png")


def test_each_image_keeps_its_threshold(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    browser.choose(("a.png", small), ("b.png", small))
    browser.wait_finished()
    browser.wait_shown("a.png")
    browser.press("Home")
    page.click("#next")
    browser.wait_shown("b.png")
    assert page.text_content("#threshold-value") == "0.50"
    page.click("#previous")
    browser.wait_shown("a.png")
    assert page.text_content("#threshold-value") == "0.01"


def test_two_images_are_sent_at_a_time(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    held: list[Route] = []
    is_held = True
    page.route(SEGMENT, lambda route: held.append(route) if is_held else route.continue_())
    browser.choose(*((f"{number}.png", small) for number in range(5)))
    page.wait_for_function("() => queue.filter(({ request }) => request).length === 2")
    page.wait_for_timeout(200)
    assert browser.states() == ["sending", "sending", "waiting", "waiting", "waiting"]
    is_held = False
    for route in held:
        route.continue_()
    browser.wait_finished()
    assert browser.states() == ["accept"] * 5


def answer_busy(times: int) -> Callable[[Route], None]:
    """Return a handler that answers 503 with Retry-After so many times, and then lets requests through."""
    left = [times]

    def handle(route: Route) -> None:
        if left[0] == 0:
            route.continue_()
            return
        left[0] -= 1
        problem = {"title": "Busy", "status": 503, "code": "overloaded", "detail": "Busy.", "remedy": "Wait."}
        headers = {"Retry-After": "1", "Content-Type": "application/problem+json"}
        route.fulfill(status=503, headers=headers, body=json.dumps(problem))

    return handle


def test_busy_server_is_asked_again_after_retry_after(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    page.route(SEGMENT, answer_busy(3))
    browser.choose(("a.png", small), ("b.png", small))
    page.wait_for_function("() => document.getElementById('busy-text').textContent.includes('Trying again in 1 s')")
    browser.wait_finished()
    assert browser.states() == ["accept", "accept"]
    page.unroute(SEGMENT)
    page.route(SEGMENT, answer_busy(1))
    assert browser.download("[data-name=mask]")[1] == browser.segment("mask", 0.5, small)


def test_retry_after_is_read_as_seconds_or_date(browser: PageDriver) -> None:
    waits = browser.page.evaluate("""() => {
        const wait = (status, header) => secondsToWait({ status, getResponseHeader: () => header });
        const soon = new Date(Date.now() + 30_000).toUTCString();
        return [wait(503, "7"), wait(429, "0"), wait(503, "9999"), wait(503, null), wait(500, "7"), wait(503, soon)];
    }""")
    assert waits[:5] == [7, 1, 120, 0, 0]
    assert 28 <= waits[5] <= 30


def test_image_can_be_cancelled_while_the_server_is_busy(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    page.route(SEGMENT, answer_busy(100))
    browser.choose(("a.png", small))
    page.wait_for_function("() => document.getElementById('busy-text').textContent.includes('Trying again')")
    page.click("#cancel")
    page.wait_for_selector("#start:not([hidden])")
    page.wait_for_timeout(1500)
    assert len([url for url in browser.requests if "segment" in url]) == 1
    assert browser.page.evaluate("queue.length") == 0


def test_failed_images_can_be_sent_again(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    page.route(SEGMENT, lambda route: route.abort())
    browser.choose(("a.png", small), ("b.png", small))
    browser.wait_finished()
    assert browser.states() == ["failed", "failed"]
    page.unroute(SEGMENT)
    page.click("#retry-failed")
    browser.wait_shown("a.png")
    browser.wait_finished()
    assert browser.states() == ["accept", "accept"]
    assert page.is_hidden("#retry-failed")


def test_all_masks_come_as_one_zip(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    browser.choose(
        ("a.png", small), ("a.png", small), ("ct.dcm", packaged("CT_small.dcm").read_bytes()), ("x:y.txt", b"?")
    )
    browser.wait_shown("a.png")
    browser.wait_finished()
    threshold, _ = browser.press("PageUp")
    assert page.text_content("#bulk") == "Download all (3)"
    name, content = browser.download("#bulk")
    assert name == "lungs.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.png.mask.png", "a (2).png.mask.png", "ct.dcm.json", "x_y.txt.error.json"]
        assert archive.read("a.png.mask.png") == browser.segment("mask", threshold, small)
        assert archive.read("a (2).png.mask.png") == browser.segment("mask", 0.5, small)
        assert json.loads(archive.read("ct.dcm.json"))["verdict"]["decision"] == "reject"
        assert json.loads(archive.read("x_y.txt.error.json"))["code"] == "unsupported-format"
    said = page.text_content("#bulk-said")
    assert "Rejected images, report only: 1." in said
    assert "Failed, with an error report: 1." in said


def test_retry_during_a_download_leaves_the_zip_as_it_was(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    page.route(SEGMENT, lambda route: route.abort())
    browser.choose(("a.png", small), ("b.png", small))
    browser.wait_finished()
    page.unroute(SEGMENT)
    page.evaluate("retryEntry(queue[0])")
    browser.wait_shown("a.png")
    assert browser.states() == ["accept", "failed"]
    held: list[Route] = []
    is_held = True
    page.route(SEGMENT, lambda route: held.append(route) if is_held else route.continue_())
    page.click("#bulk")
    page.wait_for_function("() => bulk.request")
    page.click("#retry-failed")
    page.wait_for_timeout(200)
    with page.expect_download() as download:
        is_held = False
        for route in held:
            route.continue_()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.namelist() == ["a.png.mask.png", "b.png.error.json"]


def test_problem_document_that_is_cut_off_is_told_by_its_status(browser: PageDriver, small: bytes) -> None:
    headers = {"Content-Type": "application/problem+json"}
    browser.page.route(SEGMENT, lambda route: route.fulfill(status=502, headers=headers, body='{"title": "cut'))
    browser.choose(("a.png", small))
    browser.page.wait_for_selector("#refusal:not([hidden])")
    assert "502" in browser.page.text_content("#refusal")


def test_zip_of_everything_holds_each_format_once(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    browser.choose(("Röntgen.png", small), ("b.png", small))
    browser.wait_shown("Röntgen.png")
    browser.wait_finished()
    page.select_option("#bulk-format", "all")
    _, content = browser.download("#bulk")
    with zipfile.ZipFile(io.BytesIO(browser.segment("all", 0.5, small))) as archive:
        expected = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        names = [f"{image}{each.removeprefix('lungs')}" for image in ("Röntgen.png", "b.png") for each in expected]
        assert archive.namelist() == names
        assert archive.read("Röntgen.png.mask.png") == expected["lungs.mask.png"]
        assert archive.read("b.png.npz") == expected["lungs.npz"]


def test_images_can_be_dropped_added_and_removed(browser: PageDriver, small: bytes) -> None:
    page = browser.page
    page.evaluate(
        """bytes => {
            const transfer = new DataTransfer();
            for (const name of ["a.png", "b.png"]) transfer.items.add(new File([new Uint8Array(bytes)], name));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }""",
        list(small),
    )
    browser.wait_shown("a.png")
    with page.expect_file_chooser() as chooser:
        page.click("#add")
    chooser.value.set_files({"name": "c.png", "mimeType": "", "buffer": small})
    browser.wait_shown("c.png")
    browser.wait_finished()
    page.click("#remove")
    browser.wait_shown("b.png")
    assert browser.states() == ["accept", "accept"]
    page.click("#clear")
    page.wait_for_selector("#start:not([hidden])")
    assert page.is_hidden("#queue")
    assert page.evaluate("[queue.length, image]") == [0, None]


def test_queue_is_bounded(browser: PageDriver) -> None:
    browser.page.route(SEGMENT, lambda route: route.fulfill(status=422, body=""))
    browser.choose(*((f"{number}.png", b"x") for number in range(101)))
    assert "holds 100 images; 1 were not added" in browser.page.text_content("#bulk-said")
    browser.wait_finished()
    assert len(browser.states()) == 100
