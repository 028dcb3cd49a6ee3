"""What the page says, read with the standard library's parser."""

import base64
import dataclasses
import io
import itertools
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from kseg import pictures
from kseg.errors import KsegError
from kseg.palette import Palette
from kseg.report import words
from kseg.report.contents import Shot
from kseg.report.page import render, write_page
from kseg.report.thumbnails import thumbnails

PERSON = Palette.of(["background", "person"])
VOID = {"meta", "link", "img", "br"}
SECTIONS = (
    *("scores", "curves", "classes", "confusion", "decision", "objects"),
    *("photos", "comparison", "data", "settings", "reproduce"),
)
HOSTILE = '<script>alert("1")</script> & {{ 7*7 }} $\\frac$'


class Page(HTMLParser):
    """Tags with their attributes in order, the text outside of the style, and tags left open or closed twice."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.wrong, self.texts = [], [], [], []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def sections(self):
        return [attributes["id"] for attributes in self.all("section")]


def nulled(value):
    """The same with null in place of every fraction."""
    if isinstance(value, dict):
        return {key: nulled(one) for key, one in value.items()}
    if isinstance(value, list):
        return [nulled(one) for one in value]
    return None if isinstance(value, float) else value


@pytest.fixture(scope="module")
def html(report_of):
    return render(report_of())


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_well_formed_with_one_title_and_headings_in_order(html, page):
    assert html.startswith("<!DOCTYPE html>")
    assert page.open == page.wrong == []
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")


def test_asks_for_nothing_from_outside(html, page):
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), value
        assert not any(name.startswith("on") for name in attributes)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "@import" not in html
    assert not page.all("script")
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_every_id_is_there_once_and_every_reference_leads_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    led = [value[1:] for _, a in page.tags for key, value in a.items() if key.endswith("href") and value[0] == "#"]
    led += [clip[5:-1] for _, attributes in page.tags if (clip := attributes.get("clip-path"))]
    assert led
    assert set(led) <= set(ids)


def test_all_sections_in_order(page):
    assert page.sections() == list(SECTIONS)
    assert len(page.all("svg")) == 5
    assert all(chart["aria-label"] for chart in page.all("svg"))


def test_scores_stand_as_large_figures_with_their_intervals(html):
    figures = re.findall(r'class="value">([^<]*)<', html)
    assert figures == ["0.830", "0.840", "0.810", "0.820"]
    assert re.findall(r'class="interval">95 % interval ([^<]*)<', html)[0] == "0.800 to 0.850"


def test_random_weights_are_said_beside_the_scores(report_of, page):
    assert page.text.index("from random weights, no ImageNet weights") < page.text.index("What the scores mean")
    assert "random weights" not in Page(render(report_of(random_weights=False))).text


def test_pictures_are_inside_and_described(page):
    images = page.all("img")
    assert len(images) == 3 * 2 + 3
    for image in images:
        assert image["alt"]
        kind, content = image["src"].split(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as decoded:
            assert decoded.size == (int(image["width"]), int(image["height"]))
    assert page.text.count("errors of the baseline") == 1


def test_thumbnails_show_prediction_and_errors():
    truth, prediction = np.zeros((2, 1300, 900), np.uint8)
    truth[300:700, 300:700] = prediction[400:800, 300:700] = 1
    truth[:100] = 255
    picture = np.full((1300, 900, 3), 128, np.uint8)
    overlay, errors = thumbnails(Shot("a", picture, truth, prediction, {}), PERSON)
    assert (overlay.width, overlay.height) == (errors.width, errors.height) == (443, 640)

    def at(thumbnail, row):
        with Image.open(io.BytesIO(base64.b64decode(thumbnail.uri.split(",")[1]))) as decoded:
            return np.array(decoded.getpixel((443 * 500 // 900, 640 * row // 1300)))

    # the photo's grey shows through every colour: the errors' is 128 // 2 + 90
    for row, colour, strength in (
        (350, pictures.MISSED, 0.75),
        (550, pictures.RIGHT, 0.45),
        (750, pictures.INVENTED, 0.75),
        (50, pictures.IGNORED, 0.6),
        (1000, pictures.IGNORED, 0),
    ):
        np.testing.assert_allclose(at(errors, row), strength * np.array(colour) + (1 - strength) * 154, atol=5)
    np.testing.assert_allclose(at(overlay, 350), 128, atol=5)
    assert np.abs(at(overlay, 750) - 128).max() > 30


def test_small_pictures_stay_as_they_are(shot_of):
    assert [(t.width, t.height) for t in thumbnails(shot_of(0, 9, 7), PERSON)] == [
        (7, 9),
        (7, 9),
    ]


def test_text_of_others_is_text(report_of, evaluation_of, shot_of):
    galleries = {HOSTILE: [dataclasses.replace(shot_of(1), name=HOSTILE)]}
    evaluation = evaluation_of(("background", "skin", HOSTILE)) | {"model": HOSTILE, "split": HOSTILE}
    page = Page(
        render(
            report_of(
                title=HOSTILE,
                evaluation=evaluation,
                galleries=galleries,
                data={HOSTILE: {HOSTILE: HOSTILE}},
                changed={HOSTILE: [HOSTILE]},
                settings=f"</pre>{HOSTILE}",
                versions={HOSTILE: HOSTILE},
                commands=[HOSTILE],
                notes=[HOSTILE],
            )
        )
    )
    assert page.open == page.wrong == page.all("script") == []
    # heading, title, sentence, classes, gallery, photo, data (3), settings (3), versions (2), command, note, ...
    assert page.text.count(HOSTILE) >= 16
    assert page.all("img")[0]["alt"] == f"{HOSTILE}: prediction"


def test_a_name_that_is_no_text_is_written_all_the_same(report_of, tmp_path):
    write_page(tmp_path / "page.html", render(report_of(title="caf\udce9", galleries={})))
    assert "<h1>caf?</h1>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_is_null_is_a_dash(report_of, evaluation_of):
    page = Page(render(report_of(evaluation=nulled(evaluation_of(baseline=True)))))
    assert page.open == page.wrong == []
    assert page.text.count(words.DASH) > 40
    assert not re.search(r"\b(nan|None|null)\b", page.text)


@pytest.mark.parametrize("photos", [0, 1])
def test_few_photos(report_of, evaluation_of, photos):
    page = Page(render(report_of(evaluation=evaluation_of(photos=photos), galleries={})))
    assert f"on {photos} photo{'s' if photos == 0 else ''} of the validation split" in page.text
    assert ("photos" in page.sections()) == (photos == 1)


def test_many_classes(report_of, evaluation_of):
    names = [f"class{i}" for i in range(21)]
    evaluation = evaluation_of(names)
    page = Page(render(report_of(evaluation=evaluation)))
    cells = [a["title"] for a in page.all("td") if "taken for" in a.get("title", "")]
    assert len(cells) == 21 * 21
    assert cells[22] == f"class1 taken for class1: {evaluation['confusion'][1][1]:,} pixels"
    assert not {"decision", "comparison"} & set(page.sections())
    assert "class0, class1, class2 and 18 more" in page.text


@pytest.mark.parametrize(
    ("classes", "absent"),
    [(("background", "a"), {"confused"}), (("background", "a", "b"), set()), (("sky", "a"), {"invented", "missed"})],
)
def test_the_legend_has_the_errors_that_such_classes_can_have(report_of, evaluation_of, classes, absent):
    html = render(report_of(evaluation=evaluation_of(classes=classes)))
    kinds = {"right", "invented", "missed", "confused", "ignored"}
    legend = html.split("<li>Errors:</li>")[1].split("</ul>")[0]
    assert {kind for kind in kinds if kind in legend} == kinds - absent


def test_shares_of_the_confusion_are_of_the_true_class(report_of, evaluation_of):
    evaluation = evaluation_of() | {"confusion": [[995, 5], [30, 10]]}
    shares = re.findall(r'<td style="--share: ([^"]*)"[^>]*>([^<]*)<', render(report_of(evaluation=evaluation)))
    assert shares == [("99.5%", "&gt;99"), ("0.5%", "&lt;1"), ("75.0%", "75"), ("25.0%", "25")]


def test_a_training_alone(report_of):
    page = Page(render(report_of(evaluation=None)))
    assert page.sections() == ["curves", "data", "settings", "reproduce"]
    assert "Epoch 7 was the best one" in page.text


def test_an_evaluation_alone(report_of):
    page = Page(render(report_of(history=(), data={}, changed={}, settings="", commands=(), versions={})))
    assert page.sections() == ["scores", "classes", "confusion", "decision", "objects", "photos", "comparison"]


def test_comparison_in_words(page):
    assert "better on 53 photos, worse on 1 photo, and the same on 1 photo" in page.text
    assert "p = 0.012" in page.text
    assert "chance alone is an unlikely explanation" in page.text
    assert "+0.020 \N{MINUS SIGN}0.004 to +0.041" in page.text


def test_threshold_and_calibration_in_words(page):
    assert "In use: 0.5, with a Jaccard of 0.839" in page.text  # 0.84 - 0.03²
    assert "The best on these photos: 0.47, with 0.840" in page.text
    assert "1.3 percentage points" in page.text


def test_the_same_report_gives_the_same_bytes(report_of, html):
    assert render(report_of()) == html


def test_written_whole_or_an_error_that_names_the_file(report_of, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KsegError, match=r"page\.html: cannot be written"):
        write_page(tmp_path / "file" / "page.html", render(report_of(galleries={})))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.score(0.8345), "0.835"),
        (words.score(math.nan), "\N{EN DASH}"),
        (words.signed(-0.0124), "\N{MINUS SIGN}0.012"),
        (words.percent(0.125), "12.5 %"),
        (words.extent(1.5), "100.0%"),
        (words.extent(None), "0%"),
        (words.hundredths(0.004), "<1"),
        (words.hundredths(1.0), "100"),
        (words.whole(16896000), "16,896,000"),
        (words.listed(["a"]), "a"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (
            words.sizes([{"width": 9, "height": 9}, {"width": 5, "height": 8}]),
            f"5{words.TIMES}8 to 9{words.TIMES}9 pixels",
        ),
        (words.sizes([{"width": 5, "height": 8}] * 2), f"5{words.TIMES}8 pixels"),
        (words.area({"from": 0, "to": 1024}), "under 1,024 pixels"),
        (words.area({"from": 9216, "to": None}), "from 9,216 pixels"),
        (words.plain({"a": [1, 0.25, True, None]}), "a: 1, 0.25, true, \N{EN DASH}"),
    ],
)
def test_words(written, expected):
    assert written == expected


@pytest.mark.parametrize(
    ("p_value", "expected"),
    [(0.0004, "fewer than one in a thousand"), (0.3, "may well be chance"), (None, "too little")],
)
def test_chance_in_words(p_value, expected):
    assert expected in words.chance(p_value)
