import hashlib
import json
import re
import shlex
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kseg.cli import predict
from kseg.errors import ExportError
from kseg.serving.card import Card, fingerprint, markdown
from kseg.serving.client.address import Address

CARD = Card(
    name="people",
    classes=("person",),
    colours={"person": "#009e73"},
    image_size=(256, 192),
    resize="pad",
    precision="bfloat16",
    signatures={"serving_default": "image_bytes (string, N) -> mask_bytes (PNG)", "cutout": "image_bytes -> png_bytes"},
    scores={"val_jaccard": 0.91234, "val_dice": 0.95},
    data={"training": 900, "validation": 100, "fingerprint": fingerprint(["b", "a"]), "sources": ["photos", "more"]},
    encoder_weights={"source": "imagenet", "revision": "abc", "sha256": "0" * 64, "licence": "BSD-3-Clause"},
    verification={"largest_difference": 2.5e-6, "changed_share": 0.0},
    versions={"tensorflow": "2.21.0", "kseg": "0.1"},
    created="2030-01-02T03:04:05+0000",
    settings='seed = 1\n[data]\nclasses = ["person"]\n',
)


def paragraphs(text):
    return [" ".join(part.split()) for part in text.split("\n\n")]


def block(text, language):
    return text.split(f"```{language}\n")[1].split("\n```")[0]


@pytest.mark.parametrize(
    "card",
    [
        CARD,
        replace(CARD, encoder_weights=None, verification=None, scores={}),
        replace(CARD, classes=("Straße", "людина", 'a"b\\c|d\n'), name="x"),
    ],
)
def test_a_card_is_read_as_it_was_written(card, tmp_path):
    card.write(tmp_path)
    assert Card.read(tmp_path) == card
    assert sorted(path.name for path in (tmp_path / "assets.extra").iterdir()) == ["model_card.json", "model_card.md"]


def test_the_fingerprint_is_of_the_sorted_names():
    assert fingerprint(["b", "a"]) == fingerprint(["a", "b"]) == hashlib.sha256(b"a\nb\n").hexdigest()
    assert fingerprint(["ab"]) != fingerprint(["a", "b"])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[:40], "is no model card"),
        (lambda text: text.replace('"precision"', '"prec"'), "missing or unknown: prec, precision"),
        (lambda text: text.replace('[\n    "person"\n  ]', '"person"'), "classes is no list: 'person'"),
        (lambda text: "[]", "it is no object"),
    ],
)
def test_a_broken_card_is_named(tmp_path, spoil, said):
    CARD.write(tmp_path)
    file = tmp_path / "assets.extra" / "model_card.json"
    file.write_text(spoil(file.read_text()))
    with pytest.raises(ExportError, match=rf"model_card\.json: .*{said}"):
        Card.read(tmp_path)


def test_a_missing_card_is_said(tmp_path):
    with pytest.raises(ExportError, match=r"model_card\.json: cannot be read: No such file.*an export of kseg\?"):
        Card.read(tmp_path)


def test_the_card_says_where_the_encoder_started():
    def said(weights):
        return paragraphs(markdown(replace(CARD, encoder_weights=weights)))

    assert "The encoder started from ImageNet weights." in said(CARD.encoder_weights)
    assert "The encoder started from random weights, not from ImageNet." in said(None)
    other = {**CARD.encoder_weights, "source": "hf://owner/name", "licence": None}
    assert "The encoder started from the weights of hf://owner/name." in said(other)
    assert "| licence | not known |" in markdown(replace(CARD, encoder_weights=other))
    assert "| licence | BSD-3-Clause |" in markdown(CARD)


def test_the_card_holds_what_one_asks_of_it():
    text = markdown(CARD)
    assert text.startswith("# people\n")
    assert "| val\\_jaccard | 0.9123 |" in text
    assert "256 x 192 pixels (height x width), made to fit into that size" in text
    assert "| sources | photos, more |" in text
    assert "| tensorflow | 2.21.0 |" in text
    assert "| largest\\_difference | 2.5e-06 |" in text
    assert block(text, "toml") == CARD.settings.rstrip()
    assert "It has not been compared with the Keras model." in markdown(replace(CARD, verification=None))


def test_class_names_stay_text():
    """Names that would be Markdown or HTML, read by an independent parser: all of it comes out as text."""
    parser = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed").MarkdownIt(
        "gfm-like", {"linkify": False}
    )
    names = (
        "a|b",
        "*bold*",
        "_x_",
        "`code`",
        "<b>html</b>",
        "[link](http://a)",
        "back\\slash",
        "a\nb",
        "&amp;",
        "~~no~~",
    )
    for text in (
        markdown(replace(CARD, classes=names)),
        *(markdown(replace(CARD, classes=(name,), name=f"# {name} #")) for name in names),
    ):
        html = parser.render(text)
        assert "<a " not in html
        for tag in ("<strong>", "<em>", "<b>", "<s>"):
            assert tag not in html
    html = parser.render(markdown(replace(CARD, classes=names, colours={"*bold*": "#010203"})))
    cells = [cell for cell in html.split("<td>") if "</td>" in cell]
    found = [cell.split("</td>")[0] for cell in cells]
    expected = [
        "a|b", "*bold*", "_x_", "`code`", "&lt;b&gt;html&lt;/b&gt;", "[link](http://a)", "back\\slash", "a b",
        "&amp;amp;", "~~no~~",
    ]  # fmt: skip
    start = found.index("0")
    assert found[start + 1 : start + 1 + 3 * len(names) : 3] == expected
    assert found[start + 2 : start + 8 : 3] == ["-", "#010203"]


def test_settings_cannot_break_out_of_their_block():
    settings = 'name = """\n```\n# not a heading\n"""'
    parser = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed").MarkdownIt()
    tokens = parser.parse(markdown(replace(CARD, settings=settings)))
    assert [token.content for token in tokens if token.type == "fence"][-1] == settings + "\n"


def test_the_curl_example_works(tmp_path):
    """The card's own command, with a photo longer than an argument of a command may be."""
    if subprocess.run(["which", "curl"], capture_output=True, check=False).returncode:
        pytest.skip("curl is not installed")
    got = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got["path"] = self.path
            got["body"] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *arguments):
            pass

    (tmp_path / "photo.jpg").write_bytes(bytes(300_000))
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        command = block(markdown(CARD), "sh").replace("localhost:8501", f"127.0.0.1:{server.server_port}")
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, timeout=20, check=True)
    assert done.stdout == b"ok"
    assert got["path"] == "/v1/models/people/labels/stable:predict"
    assert got["body"] == {"instances": [{"b64": "A" * 400_000}]}


def test_the_command_shown_is_one_that_there_is():
    (shown,) = re.findall(r"^kseg-.*", markdown(CARD), flags=re.MULTILINE)
    name, *arguments = shlex.split(shown)
    assert name == "kseg-predict"
    parameters = predict.main.make_context(name, arguments).params
    address = Address.parse(parameters["model"])
    assert (address.scheme, address.port, address.model, address.label) == ("grpc", 8500, "people", "stable")
    assert (parameters["inputs"], parameters["out"]) == (("photo.jpg",), "masks")


def test_the_processors_that_int8_needs_are_said():
    said = "it needs TensorFlow Serving for x86-64"
    assert said in markdown(replace(CARD, precision="int8"))
    assert said not in markdown(CARD)
