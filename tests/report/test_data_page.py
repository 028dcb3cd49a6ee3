"""The page of a data check, read with the standard library's parser."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from faults import Planter, save
from PIL import Image
from support import make_photos

from kseg.data.check import check_data
from kseg.report.data_page import CARDS, render_data, write_data_page
from kseg.settings import DataSettings

VOID = {"meta", "link", "img", "br"}
HOSTILE = '<script>alert("1")</script> & {{ 7*7 }}'


class Page(HTMLParser):
    """Tags with their attributes, the text outside of the style, and tags left open or closed twice."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.wrong, self.texts = [], [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    root = make_photos(tmp_path_factory.mktemp("page") / "photos", 60, 160, 128)
    Planter(root).plant_all()
    return check_data(DataSettings(roots=(root,)))


@pytest.fixture(scope="module")
def page(check):
    return Page(render_data(check, "photos"))


def pixels(image):
    kind, content = image["src"].split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as decoded:
        return np.array(decoded)


def test_well_formed_and_asks_for_nothing_from_outside(page):
    assert page.open == page.wrong == []
    assert not page.all("script")
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_every_kind_is_there_with_its_number_and_its_messages(check, page):
    kinds = [str(finding.kind) for finding in check.findings]
    for kind in set(kinds):
        assert f"{kind}: {kinds.count(kind)} " in page.text
    for finding in check.findings:
        if kinds.count(str(finding.kind)) <= CARDS:
            assert " ".join(finding.message.split()) in page.text
    counts = check.counts()
    assert f"errors training stops, or its scores lie {counts['error']}" in page.text


def test_pictures_are_shown_where_they_can_be_read(check, page):
    images = page.all("img")
    assert len(images) > 30
    for image in images:
        assert pixels(image).shape[:2] == (int(image["height"]), int(image["width"]))
    alts = [image["alt"] for image in images]
    (duplicate,) = [finding for finding in check.findings if finding.kind.startswith("duplicate")]
    place = alts.index(duplicate.samples[0])
    assert alts[place + 1] == duplicate.samples[1]
    aspect = next(finding for finding in check.findings if finding.kind == "another aspect")
    assert f"{aspect.samples[0]}, mask" in alts


def test_masks_lie_over_their_photos(tmp_path):
    root = make_photos(tmp_path / "photos", 10, 200, 400)
    grey = np.full((200, 400), 128, np.uint8)
    for name in ("p000", "p001"):
        Image.fromarray(grey).save(root / "images" / f"{name}.png")
        (root / "images" / f"{name}.jpg").unlink()
    save(root / "masks" / "p000.png", grey // 128 * 255)
    save(root / "masks" / "p001.png", np.kron([[0, 255], [9, 0]], np.ones((100, 200))).astype(np.uint8))
    page = Page(render_data(check_data(DataSettings(roots=(root,))), "photos"))
    by_name = {image["alt"]: pixels(image) for image in page.all("img")}
    # Okabe and Ito's bluish green, (0, 158, 115), 55 in 100 over the grey of 128
    np.testing.assert_allclose(by_name["photos/p000"][80, 160], [58, 145, 121], atol=4)
    unknown = by_name["photos/p001"]
    assert unknown.shape == (160, 320, 3)
    np.testing.assert_allclose(unknown[40, 40], 128, atol=3)
    np.testing.assert_allclose(unknown[40, 240], 146, atol=3)  # 150, 80 in 100: not known
    np.testing.assert_allclose(unknown[120, 40], 146, atol=3)


def test_classes_and_sizes_are_listed(check, page):
    background, person = check.classes
    assert f"person {person.share:.1%}".replace("%", " %") in page.text
    assert f"{background.pixels:,}" in page.text
    assert "128 to 160" not in page.text
    assert "masks smaller than their picture" in page.text


def test_text_of_others_is_text(tmp_path):
    root = make_photos(tmp_path / "photos", 10)
    name = "<b>{{ 7*7 }} & x"
    (root / "images" / f"{name}.jpg").write_bytes(b"")
    page = Page(render_data(check_data(DataSettings(roots=(root,))), HOSTILE))
    assert page.open == page.wrong == page.all("script") == page.all("b") == []
    assert page.text.count(HOSTILE) == 2
    assert f"{name}.jpg: the file is empty" in page.text


def test_long_lists_are_cut(tmp_path):
    root = make_photos(tmp_path / "photos", 10)
    for number in range(CARDS + 7):
        (root / "images" / f"n{number:02}.txt").write_text("")
    page = Page(render_data(check_data(DataSettings(roots=(root,))), "photos"))
    assert "7 more" in page.text
    assert page.text.count(".txt: is no picture") == CARDS + 7


def test_nothing_wrong_is_said(tmp_path):
    root = make_photos(tmp_path / "photos", 10)
    values = np.zeros((48, 40), np.uint8)
    values[10:30, 10:30] = 255
    for path in (root / "masks").iterdir():
        save(path, values)
    write_data_page(tmp_path / "report.html", check_data(DataSettings(roots=(root,))), "photos")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Nothing is wrong with it." in page.text
    assert page.open == page.wrong == []
