"""The page with one image: threshold, measurements, downloads, errors, sample."""

from __future__ import annotations

import io

import numpy as np
from films import dice, dicom
from numpy.typing import NDArray
from page_driver import PageDriver
from PIL import Image

from lungseg.decode.formats import format_names
from lungseg.encode.formats import FORMATS
from lungseg.pipeline.segment import segment
from lungseg.server import browser as pages


def test_threshold_works_in_the_browser_and_downloads_come_from_the_server(browser: PageDriver, rg1_png: bytes) -> None:
    browser.show("chest.png", rg1_png)
    result = segment(rg1_png)
    page = browser.page
    assert page.text_content("#decision") == "Accept"
    assert f"{int(result.mask.sum()):,}" in page.text_content("[data-lung=both]")
    assert result.model.sha256 in page.text_content("#result")
    assert "no diagnosis" in page.text_content("header")
    assert all(page.is_disabled(f"[data-name={name}]") for name, each in FORMATS.items() if each.is_dicom)

    requests = len(browser.requests)
    steps = [browser.press(key) for key in ("Home", *["PageUp"] * 5, "End", "PageDown")]
    thresholds, areas = zip(*sorted(steps), strict=True)
    assert (thresholds[0], thresholds[-1]) == (0.01, 0.99)
    assert list(areas) == sorted(areas, reverse=True)
    assert areas[0] > 1.05 * areas[-1] > 0
    assert page.text_content("#source").startswith("Estimated from the preview.")
    assert len(browser.requests) == requests

    threshold, _ = steps[-1]
    name, content = browser.download("[data-name=mask]")
    assert name == "chest.png.mask.png"
    assert content == browser.segment("mask", threshold, rg1_png)
    page.click("#measure")
    page.wait_for_function("() => document.getElementById('measure').hidden")
    with Image.open(io.BytesIO(content)) as mask:
        assert f"{int(np.asarray(mask).sum()):,}" in page.text_content("[data-lung=both]")
    assert browser.complaints == []


def test_mask_of_the_browser_is_that_of_the_server(browser: PageDriver, rg1_png: bytes) -> None:
    browser.show("chest.png", rg1_png)
    for at in (0.1, 0.5, 0.9):
        width, height, digits = browser.page.evaluate(
            "at => [image.width, image.height, segment(image, at).labels.join('')]", at
        )
        labels = np.frombuffer(digits.encode(), np.uint8).reshape(height, width) - ord("0")
        with Image.open(io.BytesIO(browser.segment("labels", at, rg1_png))) as answer:
            expected = np.asarray(answer.resize((width, height), Image.Resampling.NEAREST))
        assert min(dice(labels == side, expected == side) for side in (1, 2)) > 0.998


def test_dicom_without_preamble_can_be_segmented_as_dicom(browser: PageDriver, rg1: bytes) -> None:
    browser.show("RG1_UNCR.dcm", rg1[132:])
    assert browser.page.is_enabled("[data-name=dicom-seg]")
    assert browser.complaints == []


def test_pixel_spacing_gives_areas(browser: PageDriver, rg1: bytes, rg1_pixels: NDArray[np.uint16]) -> None:
    page = browser.page
    browser.show("RG1_UNCR.dcm", rg1)
    assert all(page.is_enabled(f"[data-name={name}]") for name, each in FORMATS.items() if each.is_dicom)
    assert page.text_content("#spacing").startswith("No cm²")
    page.focus("#remove")
    page.keyboard.press("Enter")
    page.wait_for_selector("#start:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "file"

    small = dicom(rg1_pixels[::4, ::4].copy(), PixelSpacing=[0.8, 0.8])
    browser.show("sized.dcm", small)
    area = 0.8**2 / 100 * int(segment(small).mask.sum())
    assert page.text_content("[data-lung=both] td:nth-of-type(2)") == f"{area:.1f}"
    assert browser.complaints == []


def test_problems_say_what_to_do(browser: PageDriver, rg1_png: bytes, small: bytes) -> None:
    page = browser.page
    browser.choose(("broken.png", rg1_png[: len(rg1_png) // 2]))
    page.wait_for_selector("#refusal:not([hidden])")
    assert "What to do: Export or upload the image again" in page.text_content("#refusal")
    assert "damaged" in page.evaluate("document.activeElement.textContent")
    assert page.query_selector("#refusal button") is None

    page.route("**/v1/segment*", lambda route: route.fulfill(status=413, body='{"message":"Request Too Long"}'))
    browser.choose(("small.png", small))
    page.wait_for_function("() => document.getElementById('refusal').textContent.includes('4.5 MB')")
    page.unroute("**/v1/segment*")

    page.route("**/v1/segment*", lambda route: route.abort())
    browser.choose(("small.png", small))
    page.wait_for_function("() => document.getElementById('refusal').textContent.includes('cannot be reached')")
    page.unroute("**/v1/segment*")
    page.click("#refusal button")
    browser.wait_shown("small.png")


def test_sample_image_is_accepted(browser: PageDriver) -> None:
    page = browser.page
    assert "pydicom-data (MIT licence)" in page.text_content("#sample")
    page.click("#sample")
    browser.wait_shown("sample.jpg")
    assert page.text_content("#decision") == "Accept"
    assert (pages.PAGE_FOLDER / "sample.jpg").stat().st_size <= 60_000
    assert browser.complaints == []


def test_file_names_stay_in_the_browser(browser: PageDriver, small: bytes) -> None:
    browser.show("Jane Doe 1970.png", small)
    browser.download("[data-name=json]")
    sent = " ".join([*browser.requests, *map(str, browser.headers)])
    assert "Jane" not in sent
    assert browser.requests[-1].startswith("blob:") or browser.requests[-1].endswith("format=json&threshold=0.50")


def test_policy_allows_the_inline_script_by_hash_alone(browser: PageDriver) -> None:
    response = browser.page.goto(browser.url)
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "connect-src 'self';" in policy
    assert policy.count("sha256-") == 2


def test_every_script_of_the_page_is_assembled() -> None:
    assert {each.stem for each in pages.PAGE_FOLDER.glob("*.js")} == set(pages.PAGE_SCRIPTS)
    assert "{{" not in pages.build_page()[0]


def test_api_docs_need_no_other_host(browser: PageDriver) -> None:
    browser.page.goto(f"{browser.url}/docs")
    browser.page.get_by_text("/v1/segment").first.wait_for()
    browser.page.wait_for_load_state("networkidle")
    assert browser.complaints == []


def test_every_format_is_named_and_every_one_but_the_preview_offered(browser: PageDriver) -> None:
    offered = browser.page.evaluate("[...document.querySelectorAll('#files button')].map(each => each.dataset.name)")
    assert offered == [name for name in FORMATS if name != "preview"]
    assert offered == browser.page.evaluate("[...document.querySelectorAll('#bulk-format option')].map(o => o.value)")
    assert format_names("or") in browser.page.text_content(".drop")
    assert all(browser.page.evaluate("Object.keys(SERVER.outputFormats).map(name => STRINGS.files[name])"))
