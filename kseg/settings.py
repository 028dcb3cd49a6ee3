"""The settings of a training: typed, frozen, validated as a whole.

Sections mirror the TOML file: ``[data]``, ``[synthetic]``, ``[augmentation]``, ``[model]``, ``[training]``,
``[export]``, and ``seed`` at the top. Every key has a default but the data's place; unknown keys are refused.
``kseg.config`` reads them.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

STRIDE = 32
"""Five halvings: the height and width a network works on are multiples of this."""

MAX_CLASSES = 255
"""Class ids are stored in one byte, and one value is needed for the ignored pixels."""

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A part of the settings: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TfdsSettings(Section):
    """A set of TensorFlow Datasets: one of its catalogue. One that ``kseg-data prepare`` wrote needs none of these."""

    name: Name | None = None
    """As the catalogue has it, such as ``oxford_iiit_pet`` or ``coco/2017_panoptic:1.1.0``."""
    data_dir: Name | None = None
    """Where sets are kept, once downloaded; none: TensorFlow Datasets' own place."""
    train: Name = "train"
    """Which samples train, such as ``train[:90%]``."""
    validation: Name | None = "validation"
    """Which validate; none: every n-th of ``train``, as of a folder."""
    picture: Name = "image"
    mask: Name = "mask"
    """The features that hold them."""
    objects: Name | None = None
    """Of a panoptic set: the feature that lists the segments of the mask, each with its ``id`` and ``label``."""


class SourceSettings(Section):
    """Where samples come from, and what their masks mean."""

    source: Literal["folder", "synthetic", "tfds", "coco", "panoptic", "labelme", "cvat"] = "folder"
    roots: tuple[Path, ...] = ()
    """Folders that each hold ``images`` and ``masks``; usually given as ``--data``."""
    images: Name = "images"
    masks: Name = "masks"
    annotations: Name | None = None
    """What holds the outlines below a root: the JSON file of coco and panoptic, the XML file of cvat, the folder of
    labelme's."""
    mask_values: dict[str, str | int] = {}
    """Stored value (``"255"``), colour (``"128,0,0"``, ``"#800000"``) or, of outlines, label -> class name, class id
    or ``"ignore"``; ``"other"``: all that is not named."""
    tfds: TfdsSettings = TfdsSettings()
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How many times an epoch each of its training samples comes, on average."""

    @property
    def title(self) -> str:
        """What it is called where no path should stand: the folders' names, the catalogue's, or the kind."""
        return ", ".join(root.name for root in self.roots) or self.tfds.name or self.source


class DataSettings(SourceSettings):
    """The samples, the classes, and the size the network sees them at."""

    also: tuple[SourceSettings, ...] = ()
    """Further sources, each with a mapping and a weight of its own: ``[[data.also]]``."""
    classes: tuple[Name, ...] = ("person",)
    """One name: that class against everything else (sigmoid). More: one name per class id (softmax)."""
    colours: dict[str, str] = {}
    """Class name -> ``"#rrggbb"``, for all pictures of it; those not named here have kseg's own. A first class called
    ``background`` is not drawn, whatever its colour."""
    oversample: Share = 0.0
    """Photos with a class that fewer than this share of the photos show come more often; 0 is off."""
    ignore_class: Annotated[int, Field(ge=1, le=255)] = 255
    """The id of pixels that count nowhere: in no loss and in no metric."""
    image_size: tuple[Positive, Positive] = (256, 256)
    """Height and width of the network's input, multiples of 32."""
    resize: Literal["stretch", "pad"] = "stretch"
    """``pad`` keeps the photo's aspect; the rest of the mask is filled with ``ignore_class``."""
    validation_every: Annotated[int, Field(ge=2)] = 10
    """Every n-th of the sorted pictures is validation: the 10th, the 20th, ..."""
    train_list: Path | None = None
    validation_list: Path | None = None
    """Text files with one sample name a line, instead of ``validation_every``."""
    on_bad_sample: Literal["error", "skip"] = "error"
    verify: bool = True
    """Decode every picture and mask once before training, so that a bad one is found now."""
    cache: Literal["auto"] | bool = "auto"
    """Keep decoded, resized samples in memory; ``auto`` does when they take under half of what is free."""
    input_service: str | None = None
    """``grpc://host:port`` of a ``kseg-data serve``, whose machines load the training samples; none: this one does."""

    @property
    def sources(self) -> "tuple[SourceSettings, ...]":
        """All sources, this section's own first."""
        return (self, *self.also)

    @property
    def num_classes(self) -> int:
        """Channels of the network's output: 1 (sigmoid), or one per class (softmax)."""
        return len(self.classes)

    @property
    def class_ids(self) -> tuple[str, ...]:
        """The name of every class id: in the binary case, that of everything else comes first."""
        return ("background", *self.classes) if self.num_classes == 1 else self.classes

    @field_validator("image_size")
    @classmethod
    def _fits_the_network(cls, size: tuple[int, int]) -> tuple[int, int]:
        require_multiple_of_stride(*size)
        return size

    @model_validator(mode="after")
    def _classes_are_sound(self) -> "DataSettings":
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise ValueError(f"classes: {len(self.classes)} names; there can be 1 to {MAX_CLASSES}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: each name may stand only once")
        if "ignore" in self.classes:
            raise ValueError('classes: "ignore" is the word for pixels that count nowhere; choose another name')
        unknown = [name for name in self.colours if name not in self.class_ids]
        if unknown:
            raise ValueError(f"colours: {unknown[0]} is no class; there are {', '.join(self.class_ids)}")
        wrong = [text for text in self.colours.values() if not re.fullmatch("#[0-9a-fA-F]{6}", text)]
        if wrong:
            raise ValueError(f'colours: {wrong[0]} is no colour; write it as "#rrggbb", such as "#800000"')
        if self.ignore_class < max(2, len(self.classes)):
            raise ValueError(f"ignore_class: {self.ignore_class} is a class id here; use one above, such as 255")
        if self.on_bad_sample == "skip" and not self.verify:
            raise ValueError("verify: what is to be skipped must be known beforehand; set it to true")
        if (self.train_list is None) != (self.validation_list is None):
            raise ValueError("train_list and validation_list go together; set both or neither")
        if self.input_service is not None and not re.fullmatch(r"grpc://[^/\s]+:\d{1,5}", self.input_service):
            raise ValueError(f"input_service: {self.input_service} is no address; write it as grpc://host:port")
        return self


class SyntheticSettings(Section):
    """The built-in people scenes (``data.source = "synthetic"``)."""

    labels: Literal["person", "parts"] = "person"
    """``person``: against everything else; ``parts``: head, upper clothes, lower clothes, limbs as well."""
    level: Literal["easy", "full"] = "full"
    """``easy``: one person, near, before a blurred background; ``full``: up to four, far too, decoys, camouflage."""
    scenes: Annotated[int, Field(ge=2)] = 1000
    """How many are drawn; they are split like any other pictures."""
    seed: Annotated[int, Field(ge=0)] = 0


class AugmentationSettings(Section):
    """Random changes of training samples; picture and mask move as a pair. Only the flip is on by default."""

    horizontal_flip: Share = 0.5
    """Probability, as those of the next three."""
    vertical_flip: Share = 0.0
    transpose: Share = 0.0
    """Swap of rows and columns; needs a square ``image_size``."""
    blur: Share = 0.0
    brightness: Share = 0.0
    """Largest change, as a share of the full range; contrast, saturation: of the factor; hue: of the circle."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    saturation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """0.25: enlarged or reduced by up to 25 %, about a random point (a crop, or a smaller picture)."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest angle, in degrees, either way."""


class ModelSettings(Section):
    """The network: see ``kseg.models.segmenter.build_segmenter``."""

    encoder: Name = "resnet34"
    encoder_weights: Name = "none"
    """``imagenet``, fetched once; ``none``, random; a file or a run of kseg; or ``hf://owner/name``, a model hub's."""
    join: Name = "combined"
    widths: Annotated[tuple[Positive, ...], Field(min_length=5, max_length=5)] | None = None
    """Channels after each of the five decoder steps; none: the join's own."""
    detail: bool = False
    """The decoder's last step takes in features of the picture at full size: sharper edges, a few per cent slower."""
    norm: Literal["batch", "group"] = "batch"
    """Group normalisation knows no other picture of the batch; ImageNet's weights need ``batch``."""
    zero_residual: bool = False
    """Residual branches start at zero; of use from random weights only."""

    @property
    def network(self) -> dict[str, Any]:
        """The arguments of ``build_segmenter``: all but where the encoder's weights come from."""
        return self.model_dump(exclude={"encoder_weights"})


class TrainingSettings(Section):
    """How the network is trained. The defaults are the brief's recipe."""

    epochs: Positive = 20
    batch_size: Positive = 4
    steps_per_epoch: Positive | None = None
    """None: as many as make one pass over the pictures. Results are saved once per epoch."""
    steps_per_execution: Positive = 1
    loss: Name = "bce"
    """A weighted sum, such as ``"bce + 0.5 dice"``."""
    class_weights: tuple[Annotated[float, Field(ge=0)], ...] | Literal["balanced", "median"] | None = None
    """Of each class in the loss: given; or from its share of the training pixels, see ``kseg.data.survey``."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    optimizer: Literal["adam", "muon"] = "adam"
    """``muon`` learns more from the same pictures and takes longer for a step: see ``kseg.training.muon``."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    plateau_patience: Positive = 5
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled (AdamW) and on convolution kernels only."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of all gradients together."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of the weights' moving average, which then is what is validated and kept as best; 0 is off."""
    early_stopping: Positive | None = None
    """Stop after so many epochs without a better ``monitor``."""
    monitor: Literal["jaccard", "dice", "jaccard_per_image", "dice_per_image", "loss"] = "jaccard"
    """Of the validation pictures; chooses the best epoch."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    freeze_encoder: Annotated[int, Field(ge=0)] = 0
    """Epochs for which the encoder stays as it is, its BatchNorm statistics too, while the decoder learns."""
    unfreeze_every: Annotated[int, Field(ge=0)] = 0
    """Then its stages are freed one by one, the deepest first, one each so many epochs; 0: all at once."""
    encoder_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The encoder's learning rate, as a share of the decoder's."""
    freeze_batchnorm: bool = False
    """The encoder's BatchNorm stays as it is all the time: for weights trained before, and very small batches."""
    deterministic: bool = True
    """The same settings and machine give the same weights, bit for bit, interrupted or not."""

    @model_validator(mode="after")
    def _unfreezes_what_was_frozen(self) -> "TrainingSettings":
        if self.unfreeze_every and not self.freeze_encoder:
            raise ValueError("unfreeze_every: nothing is frozen; set freeze_encoder to a number of epochs, such as 1")
        return self

    @model_validator(mode="after")
    def _warms_up_within_the_training(self) -> "TrainingSettings":
        if self.warmup_epochs and self.schedule != "cosine":
            raise ValueError('warmup_epochs: belongs to schedule = "cosine"; set that, or leave it 0')
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs: {self.warmup_epochs} leaves nothing of {self.epochs} epochs; use fewer, such as 1"
            )
        return self


class ExportSettings(Section):
    """How ``kseg-export`` serves the trained network."""

    precision: Literal["float32", "bfloat16", "int8"] = "float32"
    """``bfloat16`` is about twice as fast on processors that have it, and moves a few pixels at the edges; ``int8``,
    measured on training photos, is faster still, and moves a few more; it needs an x86-64 processor."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of one class: the probability above which a pixel belongs to it."""
    max_pixels: Positive = 50_000_000
    """A photo that claims more is refused from its header, before anything is allocated."""
    batch_sizes: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 4, 16)
    """Photos in a request that the server is made ready for at its start."""


class Settings(Section):
    """All settings of one training, and of the export of what it makes."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataSettings = DataSettings()
    synthetic: SyntheticSettings = SyntheticSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    export: ExportSettings = ExportSettings()

    @model_validator(mode="after")
    def _sections_agree(self) -> "Settings":
        height, width = self.data.image_size
        if self.augmentation.transpose and height != width:
            raise ValueError(f"augmentation.transpose: needs a square data.image_size, this is {height} x {width}")
        training, model = self.training, self.model
        if model.encoder_weights == "none" and (training.freeze_encoder or training.freeze_batchnorm):
            raise ValueError(
                "model.encoder_weights: is none, and random weights cannot be frozen to any use; set it, such as to "
                "imagenet, or leave training.freeze_encoder at 0 and training.freeze_batchnorm at false"
            )
        if model.encoder_weights == "imagenet" and model.norm != "batch":
            raise ValueError(f"model.norm: {model.norm} does not go with ImageNet's weights, which need batch")
        weights = training.class_weights
        expected = max(2, self.data.num_classes)
        if isinstance(weights, tuple) and len(weights) != expected:
            raise ValueError(
                f"training.class_weights: {len(weights)} numbers; {expected} are needed, one for each class"
                + (" (background, then the class)" if self.data.num_classes == 1 else "")
            )
        return self


def require_multiple_of_stride(height: int, width: int) -> None:
    """Raise ValueError, proposing the next larger size that fits, unless both sides are multiples of 32."""
    fitting = [max(STRIDE, -(-side // STRIDE) * STRIDE) for side in (height, width)]
    if [height, width] != fitting:
        raise ValueError(
            f"{height} x {width} (height x width) does not fit: the network halves both five times, so they must be "
            f"multiples of {STRIDE}; by padding, the nearest that fit are {fitting[0]} x {fitting[1]}"
        )
