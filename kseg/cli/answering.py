"""From what ``kseg-predict`` is told to what answers photos: a network in this process, or a server."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kseg.cli.common import import_tensorflow
from kseg.cli.predict import Wish
from kseg.data.images import read_picture
from kseg.errors import ConfigError
from kseg.inference.cleaning import Cleaning
from kseg.inference.folder import Answerer
from kseg.inference.outputs import Background, Outputs
from kseg.palette import Palette

if TYPE_CHECKING:
    from kseg.inference.predictor import Predictor


class Way(NamedTuple):
    """How photos are answered; the network itself, which films need, only where it is in this process.

    Attributes:
        answerer: Of photos.
        cleaning: What it, and whoever else uses the network, tidies in every mask.
        predictor: The network.
    """

    answerer: Answerer
    cleaning: Cleaning | None
    predictor: "Predictor | None"

    @property
    def several(self) -> bool:
        """Whether the network tells several classes apart, so far as it matters for the files' names."""
        return self.predictor is not None and self.predictor.several


def outputs_of(wish: Wish) -> Outputs:
    """What is to be written; a background picture is read now."""
    behind: Background = wish.background or "blur"
    if isinstance(behind, str) and behind != "blur":
        behind = read_picture(Path(behind))
    return Outputs(kinds=wish.kinds, format=wish.file_format, background=behind, legend=wish.legend)


@contextlib.contextmanager
def answering(model: str, wish: Wish, outputs: Outputs) -> Iterator[Way]:
    """Open what ``model`` names: a server, a run, or an export."""
    cleaning = cleaning_of(wish)
    if "://" in model:
        from kseg.cli.served import ServerAnswerer
        from kseg.serving.client import Client

        for name in ("flip", "threshold"):
            if getattr(wish, name):
                raise ConfigError(f"--{name}: a server's model is as it was exported; name a run instead")
        if wish.resolution != "trained":
            raise ConfigError("--resolution: a server's model is as it was exported; name a run instead")
        with Client.open(
            model, timeout=wish.timeout, batch_size=wish.batch_size, certificates=wish.certificates
        ) as client:
            yield Way(ServerAnswerer(client, outputs, cleaning, wish.batch_size), cleaning, None)
        return
    import_tensorflow()
    from kseg.inference.local import LocalAnswerer
    from kseg.opening import load

    predictor = load(model, wish.precision)
    if wish.threshold:
        if predictor.several:
            raise ConfigError("--threshold: belongs to models of one class; with more, the most probable one counts")
        predictor.threshold = wish.threshold
    require_background(predictor.classes, outputs, cleaning)
    yield Way(
        LocalAnswerer(
            predictor,
            resolution=wish.resolution,
            flip=wish.flip,
            soft=outputs.soft,
            need_photo=outputs.need_photo,
            cleaning=cleaning,
            batch_size=wish.batch_size,
        ),
        cleaning,
        predictor,
    )


def require_background(classes: Sequence[str], outputs: Outputs, cleaning: Cleaning | None) -> None:
    """Raise ConfigError for what is wished that only a network with a background among its classes can give."""
    if Palette.of(classes).background is not None:
        return
    cut = [f"--output {kind}" for kind in outputs.kinds if kind in {"cutout", "background"}]
    if cut or (cleaning and cleaning.needs_background):
        what = cut[0] if cut else "--largest, --min-region and --fill-holes"
        raise ConfigError(f"{what}: needs a background, and class 0 of this network is {classes[0]}; leave it out")


def cleaning_of(wish: Wish) -> Cleaning | None:
    """What is to be tidied, if anything."""
    chosen = Cleaning(largest=wish.largest, fill_holes=wish.fill_holes, min_region=wish.min_region, smooth=wish.smooth)
    return chosen if chosen != Cleaning() else None
