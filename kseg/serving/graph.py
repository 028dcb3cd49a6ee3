"""The graph that is served: a photo's bytes in, its mask out, and nothing that a client would have to know.

Every signature is made of the same parts: the photo is decoded and turned upright, brought to the network's size as in
training, judged by the network, and the answer is brought back to the photo's own size. A picture that cannot be read
gets a status; the others of its batch do not notice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kseg.data.samples import View
from kseg.errors import ExportError
from kseg.logits import SOFT, log_odds
from kseg.serving.fitting import fit_picture, place, restore_in_strips
from kseg.serving.photo.decode import Photo, decode_photo
from kseg.serving.photo.header import Status
from kseg.settings import STRIDE

Tensors = dict[str, tf.Tensor]

READ_AT_ONCE = 4
"""Photos decoded, or encoded, in parallel; each may take as many bytes as ``max_pixels`` allows."""

JUDGED_AT_ONCE = 16
"""Photos the network sees together: more are no faster, and take memory in proportion."""

COMPRESSION = 1
"""Of the PNGs, 0 to 9: a mask shrinks to about a hundredth with any, and 1 takes the least time."""


@dataclass(frozen=True)
class Contract:
    """What a served network has to know besides its weights.

    Attributes:
        classes: Names by class id; of one class, the background's first.
        image_size: Height and width of the network's input.
        resize: How photos were brought to it in training, "stretch" or "pad".
        threshold: Of one class: the probability above which a pixel belongs to it.
        max_pixels: A photo that claims more is refused from its header.
        several: Whether the network has a logit for every class id; False: one, for the class against the background.

    Raises:
        ExportError: one logit is said to tell other than two classes apart.
    """

    classes: tuple[str, ...]
    image_size: tuple[int, int]
    resize: str = "stretch"
    threshold: float = 0.5
    max_pixels: int = 50_000_000
    several: bool = False

    def __post_init__(self) -> None:
        if len(self.classes) != 2 and not self.several:
            raise ExportError(f"{len(self.classes)} classes, and only one logit: that is for two; pass several=True")

    @property
    def view(self) -> View:
        """How the network sees photos."""
        return View(self.image_size, self.resize)

    @property
    def binary(self) -> bool:
        """Whether it is one class against everything else."""
        return not self.several

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Logits (..., C) to probabilities of the same shape: sigmoid for one class, softmax for more."""
        return tf.nn.sigmoid(logits) if self.binary else tf.nn.softmax(logits)


class ServedNetwork:
    """The signatures of a network; ``network`` takes float32 (B, H, W, 3) pixels to float32 (B, H, W, C) logits."""

    def __init__(self, network: Callable[[tf.Tensor], tf.Tensor], contract: Contract) -> None:
        self.contract = contract
        # One function for all signatures, so that the weights are stored once.
        pixels = tf.TensorSpec([None, None, None, 3], tf.float32, name="pixels")
        # Not inlined: TensorFlow fuses convolution, bias, sum and ReLU in a function of its own, but in no graph
        # that has a loop in it, as those that take photos have.
        self._network = tf.function(
            network, input_signature=[pixels], autograph=False, experimental_attributes={"_noinline": True}
        )
        self._decode, self._decode_reduced = _decoder(contract), _decoder(contract, contract.view)

    def signatures(self) -> dict[str, Any]:
        """The concrete functions to save, by the name of their signature."""
        photos = tf.TensorSpec([None], tf.string, name="image_bytes")
        made = {"serving_default": _traced(self.segment, photos)}
        if self.contract.binary:
            made["cutout"] = _traced(self.cutout, photos)
        for name, dtype in (("probabilities", tf.float32), ("probabilities_uint8", tf.uint8)):
            made[name] = _traced(self.probabilities, tf.TensorSpec([None, None, None, 3], dtype, name="pixels"))
        return made

    def segment(self, image_bytes: tf.Tensor) -> Tensors:
        """Photos to masks.

        Args:
            image_bytes: string (N,): JPEG, PNG, WebP, BMP or GIF files of any size, turned upright by their EXIF.

        Returns:
            ``mask_bytes``, string (N,): PNGs of the photos' own size; 255 where the class is and 0 elsewhere, or class
            ids where there are more. ``score``, float32 (N,): the mean probability of the class decided on.
            ``coverage``, float32 (N, ids): the share of the pixels of every class id. ``status``, int32 (N,), and
            ``message_bytes``, string (N,): what was wrong with a picture, whose mask is empty then, or 0 and "".
        """
        prepared = self._prepare(image_bytes)

        def answer(logits: tf.Tensor, size: tf.Tensor) -> Tensors:
            box = place(size, *self.contract.view)
            mask, counts = restore_in_strips(logits, size, box, self._decide)
            return {
                "mask_bytes": tf.io.encode_png(mask[..., None], compression=COMPRESSION),
                "score": self._confidence(logits, box),
                "coverage": tf.cast(counts / tf.reduce_sum(counts), tf.float32),
            }

        empty = {
            "mask_bytes": tf.constant(b""),
            "score": tf.constant(0.0),
            "coverage": tf.zeros([len(self.contract.classes)]),
        }
        return self._answer_all(prepared, answer, empty)

    def cutout(self, image_bytes: tf.Tensor) -> Tensors:
        """Photos to ``cutout_bytes``, string (N,): RGBA PNGs of the photos' own size, all but the class transparent.

        The edge is soft: alpha follows the probability. ``status`` and ``message_bytes`` as in ``segment``.
        """
        prepared = self._prepare(image_bytes)

        def answer(logits: tf.Tensor, size: tf.Tensor, content: tf.Tensor) -> Tensors:
            box = place(size, *self.contract.view)
            alpha, _ = restore_in_strips(logits, size, box, self._alpha)
            # Decoded a second time: keeping all photos of a batch until here would take their memory together.
            photo = self._decode(content)
            cut = tf.concat([photo.pixels, alpha[..., None]], axis=-1)
            return {"cutout_bytes": tf.io.encode_png(cut, compression=COMPRESSION)}

        return self._answer_all(prepared, answer, {"cutout_bytes": tf.constant(b"")}, image_bytes)

    def probabilities(self, pixels: tf.Tensor) -> Tensors:
        """RGB pixels in [0, 255], float32 or uint8 (N, H, W, 3) of any H and W, to probabilities, at their own size.

        ``probabilities``: float32 (N, H, W, C), C = 1 for one class against everything else, or one per class id. The
        pixels are not resized: sides that are no multiple of 32 are continued by their last row or column, and cropped.
        """
        sides = tf.shape(pixels)[1:3]
        fitting = tf.cond(tf.reduce_all(sides % STRIDE == 0), lambda: pixels, lambda: _continued(pixels, sides))
        logits = self._network(tf.cast(fitting, tf.float32))[:, : sides[0], : sides[1]]
        return {"probabilities": self.contract.probabilities(logits)}

    def _prepare(self, image_bytes: tf.Tensor) -> Tensors:
        """Every photo's logits at the network's size, its own size, status and message."""
        size = self.contract.image_size

        def read(content: tf.Tensor) -> tuple[tf.Tensor, ...]:
            photo: Photo = self._decode_reduced(content)
            fitted = tf.cond(
                photo.status == int(Status.OK),
                lambda: fit_picture(photo.pixels, size, place(photo.size, *self.contract.view)),
                lambda: tf.zeros([*size, 3], tf.uint8),
            )
            return fitted, photo.size, photo.status, photo.message

        specs = (
            tf.TensorSpec([*size, 3], tf.uint8),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.string),
        )
        pixels, sides, status, message = tf.map_fn(
            read, image_bytes, fn_output_signature=specs, parallel_iterations=READ_AT_ONCE
        )
        return {"logits": self._judge(pixels, status), "size": sides, "status": status, "message_bytes": message}

    def _judge(self, pixels: tf.Tensor, status: tf.Tensor) -> tf.Tensor:
        """Logits, float32 (N, H, W, C), of uint8 (N, H, W, 3); zeros for pictures that could not be read."""
        good = tf.where(status == int(Status.OK))[:, 0]
        count = tf.size(good)
        channels = 1 if self.contract.binary else len(self.contract.classes)
        shape = [*self.contract.image_size, channels]

        def step(start: tf.Tensor, judged: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            some = good[start : start + JUDGED_AT_ONCE]
            logits = self._network(tf.cast(tf.gather(pixels, some), tf.float32))
            return start + JUDGED_AT_ONCE, tf.tensor_scatter_nd_update(judged, some[:, None], logits)

        start = tf.constant(0), tf.zeros([tf.size(status), *shape])
        _, judged = tf.while_loop(lambda start, _: start < count, step, start, parallel_iterations=1)
        return tf.ensure_shape(judged, [None, *shape])

    def _answer_all(
        self, prepared: Tensors, answer: Callable[..., Tensors], empty: Tensors, *further: tf.Tensor
    ) -> Tensors:
        """Every photo's answer, or ``empty`` for one that could not be read, with all statuses and messages."""

        def one(inputs: tuple[tf.Tensor, ...]) -> Tensors:
            status, *rest = inputs
            return tf.cond(status == int(Status.OK), lambda: answer(*rest), lambda: empty)

        inputs = prepared["status"], prepared["logits"], prepared["size"], *further
        specs = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in empty.items()}
        answers = tf.map_fn(one, inputs, fn_output_signature=specs, parallel_iterations=READ_AT_ONCE)
        return {**answers, "status": prepared["status"], "message_bytes": prepared["message_bytes"]}

    def _decide(self, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A strip's mask, uint8 (rows, width), and the number of pixels of every class id, int64 (ids,)."""
        if self.contract.binary:
            inside = logits[..., 0] > log_odds(self.contract.threshold)
            of_class = tf.math.count_nonzero(inside, dtype=tf.int64)
            counts = tf.stack([tf.size(inside, tf.int64) - of_class, of_class])
            return tf.cast(inside, tf.uint8) * 255, counts
        count = len(self.contract.classes)
        ids = tf.argmax(logits, axis=-1, output_type=tf.int32)
        counts = tf.math.bincount(tf.reshape(ids, [-1]), minlength=count, maxlength=count, dtype=tf.int64)
        return tf.cast(ids, tf.uint8), counts

    def _alpha(self, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A strip's opacity, uint8 (rows, width); nothing is counted."""
        opacity = tf.clip_by_value((tf.nn.sigmoid(logits[..., 0]) - SOFT) / (1 - 2 * SOFT), 0.0, 1.0)
        return tf.cast(tf.round(255 * opacity), tf.uint8), tf.constant(0, tf.int64)

    def _confidence(self, logits: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
        """The mean probability of what is decided, over the photo at the network's size: float32 scalar."""
        inner = logits[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
        there = self.contract.probabilities(inner)
        if not self.contract.binary:
            return tf.reduce_mean(tf.reduce_max(there, axis=-1))
        return tf.reduce_mean(tf.where(there > self.contract.threshold, there, 1 - there))


def _decoder(contract: Contract, view: View | None = None) -> Any:
    content = tf.TensorSpec([], tf.string, name="content")
    return tf.function(
        lambda content: decode_photo(content, contract.max_pixels, view), input_signature=[content], autograph=False
    )


def _continued(pixels: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """(N, H, W, C) to multiples of ``STRIDE``, by repeating the last row and column."""
    rows, columns = (tf.minimum(tf.range(-(-side // STRIDE) * STRIDE), side - 1) for side in tf.unstack(sides))
    return tf.gather(tf.gather(pixels, rows, axis=1), columns, axis=2)


def _traced(function: Callable[[tf.Tensor], Tensors], spec: tf.TensorSpec) -> Any:
    return tf.function(function, autograph=False).get_concrete_function(spec)
