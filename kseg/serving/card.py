"""The card of an exported network: what it is, how well it does, what it was made of; for programs and for people.

It goes with every version, as ``assets.extra/model_card.json`` and, to be read, ``assets.extra/model_card.md``.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from kseg.errors import ExportError
from kseg.files import write_text

FOLDER = "assets.extra"
"""Serving leaves this folder of a SavedModel alone, but for its warm-up requests."""

JSON, MARKDOWN = "model_card.json", "model_card.md"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of an exported network; every value can be JSON.

    Attributes:
        name: The model's, which it is served under.
        classes: The names, by class id; a single one: that class against everything else.
        colours: Class name -> ``"#rrggbb"``: how kseg draws it; none for the background.
        image_size: Height and width, in pixels, at which the network sees every photo.
        resize: "stretch" or "pad": how a photo comes to that size.
        precision: "float32", "bfloat16" or "int8": what the network computes in.
        signatures: What each takes and gives, in words.
        scores: Those of the best epoch, on the validation pictures.
        data: ``training`` and ``validation``, the numbers of samples; ``fingerprint``, of their names (see
            ``fingerprint``); ``sources``, the names of the folders they are from (no paths: a card is given away).
        encoder_weights: What the encoder started from: ``source``, ``file`` (without its folders), ``revision``,
            ``sha256``, ``licence``; None: random weights.
        verification: How far the export is from the Keras model, once it has been compared.
        versions: package -> version.
        created: When, in ISO 8601.
        settings: Those of the training, as TOML, without paths and addresses.
    """

    name: str
    classes: tuple[str, ...]
    colours: Mapping[str, str]
    image_size: tuple[int, int]
    resize: str
    precision: str
    signatures: Mapping[str, str]
    scores: Mapping[str, float]
    data: Mapping[str, Any]
    encoder_weights: Mapping[str, str | None] | None
    verification: Mapping[str, Any] | None
    versions: Mapping[str, str]
    created: str
    settings: str

    def write(self, folder: Path) -> None:
        """Write both files into the SavedModel in ``folder``."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        write_text(folder / FOLDER / JSON, text + "\n")
        write_text(folder / FOLDER / MARKDOWN, markdown(self))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The card of the SavedModel in ``folder``. Raises ExportError if there is none, or it is broken."""
        file = folder / FOLDER / JSON
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("it is no object")
            named = {field.name for field in fields(cls)}
            if content.keys() != named:
                wrong = ", ".join(sorted(content.keys() ^ named))
                raise ValueError(f"missing or unknown: {wrong}")
            for name in ("classes", "image_size"):
                if not isinstance(content[name], list):
                    raise ValueError(f"{name} is no list: {content[name]!r}")
                content[name] = tuple(content[name])
        except OSError as error:
            raise ExportError(f"{file}: cannot be read: {error.strerror}; is {folder} an export of kseg?") from None
        except ValueError as error:
            raise ExportError(f"{file}: is no model card: {error}; export the network again") from None
        return cls(**content)


def fingerprint(names: Iterable[str]) -> str:
    """sha256, in hexadecimal, of the samples' names, sorted, one a line: the same for the same samples."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def markdown(card: Card) -> str:
    """The card as Markdown."""
    parts = [
        f"# {_escape(card.name)}",
        _what_it_does(card),
        "## How to call it",
        _how_to_call(card),
        "## Scores",
        _scores(card),
        "## Limits",
        _limits(card),
        "## Data",
        _data(card.data),
        "## Encoder weights and licence",
        _licence(card.encoder_weights),
        "## Check of the export",
        _verification(card.verification),
        "## Versions",
        _table(("package", "version"), card.versions.items()),
        "## Settings of the training",
        _fenced("toml", card.settings),
    ]
    return "\n\n".join(parts) + "\n"


def _what_it_does(card: Card) -> str:
    if len(card.classes) == 1:
        does = f"Finds every pixel of {_escape(card.classes[0])} in a photo: 255 in the mask, and 0 everywhere else."
    else:
        does = "Says of every pixel of a photo which of these classes it belongs to."
        rows = ((class_id, name, card.colours.get(name, "-")) for class_id, name in enumerate(card.classes))
        does += "\n\n" + _table(("id", "class", "colour"), rows)
    return f"{does}\n\nExported by kseg on {_escape(card.created)}, computing in {_escape(card.precision)}."


def _how_to_call(card: Card) -> str:
    curl = (
        """(printf '{"instances": [{"b64": "'; base64 < photo.jpg | tr -d '\\n'; printf '"}]}') |\n"""
        f"""    curl -s -d @- http://localhost:8501/v1/models/{card.name}/labels/stable:predict"""
    )
    return "\n\n".join(
        [
            _table(("signature", "what it takes and gives"), card.signatures.items()),
            'A photo\'s bytes by REST, to `serving_default` (another one: `"signature_name"` beside `"instances"`). '
            'The reply has one prediction per photo; its `mask_bytes` is `{"b64": ...}`, a PNG in base64:',
            _fenced("sh", curl),
            "By gRPC, which is faster (`PredictionService.Predict`, on port 8500), from Python or the command line:",
            _fenced("sh", f"kseg-predict grpc://localhost:8500/{card.name}@stable photo.jpg --out masks"),
        ]
    )


def _scores(card: Card) -> str:
    rows = ((name, f"{value:.4f}") for name, value in card.scores.items())
    table = _table(("score on the validation pictures", "value"), rows) if card.scores else "None are known."
    if card.encoder_weights is None:
        return f"{table}\n\nThe encoder started from random weights, not from ImageNet."
    source = card.encoder_weights.get("source")
    start = "ImageNet weights" if source == "imagenet" else f"the weights of {_escape(str(source))}"
    return f"{table}\n\nThe encoder started from {start}."


def _limits(card: Card) -> str:
    height, width = card.image_size
    fits = {
        "stretch": "stretched to that size, whatever its shape",
        "pad": "made to fit into that size, with its shape kept",
    }.get(card.resize, f"brought to that size ({_escape(card.resize)})")
    return (
        f"- The network sees a photo at {height} x {width} pixels (height x width), {fits}; the mask comes back at the "
        "photo's own size, and knows no detail finer than that.\n"
        "- The scores hold for photos like the validation pictures. Measure it on yours before you rely on it.\n"
        "- It knows no other classes than those above: whatever else there is goes to one of them or to none."
        + ("\n- Computing in int8, it needs TensorFlow Serving for x86-64." if card.precision == "int8" else "")
    )


def _data(data: Mapping[str, Any]) -> str:
    rows = (
        (key, ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value) for key, value in data.items()
    )
    return _table(("of the samples", "value"), rows) + "\n\nThe fingerprint is the SHA-256 of the samples' names."


def _licence(weights: Mapping[str, str | None] | None) -> str:
    ours = "The network's own weights stand under what its training pictures allow."
    if weights is None:
        return f"The encoder started from random weights, so nobody else's licence is in it. {ours}"
    rows = ((key, "not known" if value is None else value) for key, value in weights.items())
    return _table(("encoder weights", "value"), rows) + f"\n\n{ours} The licence above applies as well."


def _verification(verification: Mapping[str, Any] | None) -> str:
    if verification is None:
        return "It has not been compared with the Keras model."
    return "Compared with the Keras model before it was published.\n\n" + _table(
        ("measure", "value"), verification.items()
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(_escape(str(cell)) for cell in row) + " |" for row in rows]
    return "\n".join([f"| {' | '.join(header)} |", "|---" * len(header) + "|", *lines])


def _escape(text: str) -> str:
    """Text of others as it is, on one line: nothing in it is Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]#|<>~&])", r"\\\1", " ".join(text.split()))


def _fenced(language: str, text: str) -> str:
    """A block of code; its fence is longer than any in ``text``."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
