"""`ModelInfo` describes a network; `ModelCard` is the JSON inside every exported file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as dataclass_fields
from typing import Any, Literal, get_args

from edge_effnet import json_text
from edge_effnet.decoding import decode
from edge_effnet.errors import ModelFileError, UsageError
from edge_effnet.names import IO, OutputActivation, Precision
from edge_effnet.preprocess import Preprocess
from edge_effnet.version import VERSION

#: Metadata key under which each format stores the card.
CARD_KEY = "edge_effnet"
SCHEMA = 1

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
IOS: tuple[IO, ...] = get_args(IO)
#: Content of the file's input: uint8 RGB pixels, or float32 values normalised by `Preprocess`.
InputKind = Literal["pixels", "normalised"]


@dataclass(frozen=True)
class Source:
    """Origin of the weights: the kind of checkpoint, its file name and sha256."""

    kind: str
    file: str
    sha256: str


@dataclass(frozen=True)
class CalibrationRecord:
    """Record of the calibration set of a plan.

    Attributes:
        photos: Number of photos read.
        samples: Number of samples made from these photos, including crops and flips.
        digest: sha256 over the samples' pixels in order.
        manifest: (file, sha256) of the photos; empty above `MANIFEST_LIMIT` photos, where the
            digest identifies the set.
        given: Number of files that the photos were chosen from, including unreadable files; 0 if
            not recorded.
        appearance: Quantiles of the samples' brightness, contrast, colourfulness and detail
            (`edge_effnet.appearance`); empty if not recorded.
    """

    photos: int
    samples: int
    digest: str
    manifest: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    given: int = 0
    appearance: tuple[tuple[float, ...], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        """Refuse quantiles of another shape.

        Raises:
            UsageError: They are not four times 21 increasing numbers.
        """
        rows = self.appearance
        if rows and (len(rows) != 4 or any(len(r) != 21 or [*r] != sorted(r) for r in rows)):
            raise UsageError("the appearance of the calibration photos is not 4 times 21 quantiles")


MANIFEST_LIMIT = 1000


@dataclass(frozen=True)
class QuantizerResult:
    """Comparison of one quantizer's int8 file with the float network on ``photos`` photos.

    Attributes:
        quantizer: Name of the quantizer.
        agreement: Fraction of photos with the same top-1 prediction.
        sqnr_db: SQNR of the logits in dB.
        photos: Number of photos, which are not calibration photos if there were enough.
    """

    quantizer: str
    agreement: float
    sqnr_db: float
    photos: int


@dataclass(frozen=True)
class Quantization:
    """Quantization of an int8 file.

    ``avx2_safe`` tells whether adjacent weights satisfy |w1 + w2| <= 128. Then 8-bit dot products
    cannot saturate on x86 CPUs without VNNI. ``forced`` marks a file that failed the fidelity
    check. ``per_tensor`` tells whether each layer's weights share a single scale. ``float_layers``
    are the layers that mixed precision computes in float. ``float_share`` is their fraction of the
    multiply-adds. ``compared`` has the results of the quantizers that this one was chosen from.
    """

    quantizer: str
    recipe: str
    calibration: CalibrationRecord | None = None
    avx2_safe: bool = False
    forced: bool = False
    per_tensor: bool = False
    float_layers: tuple[str, ...] = ()
    float_share: float = 0.0
    compared: tuple[QuantizerResult, ...] = ()


@dataclass(frozen=True, repr=False)
class ModelInfo:
    """Description of a network, independent of the file that it is exported to.

    Attributes:
        variant: The variant's full name.
        preprocess: Preprocessing from a photo to the network's input.
        labels: Names of the classes, one per output. A network with a single sigmoid output has
            two: the output is the probability of the second class.
        source: Origin of the weights.
        output_activation: Activation that turns the network's outputs into predictions.
        multi_label: Whether any number of labels may apply to a photo (several sigmoid outputs).
        untrained: Whether layers were replaced since the weights were trained
            (`edge_effnet.adaptation`). Predictions are wrong until the network is trained.
    """

    variant: str
    preprocess: Preprocess
    labels: tuple[str, ...]
    source: Source | None = None
    output_activation: OutputActivation = "softmax"
    multi_label: bool = False
    untrained: bool = False

    @property
    def outputs(self) -> int:
        """Number of output values of the network."""
        return 1 if self.binary else len(self.labels)

    @property
    def binary(self) -> bool:
        """Whether the network has two classes and a single sigmoid output."""
        return self.output_activation == "sigmoid" and not self.multi_label

    def __repr__(self) -> str:
        return f"ModelInfo({self.variant}, {self.preprocess.size} px, {len(self.labels):,} classes)"

    def card(self, **fields: Any) -> ModelCard:
        """The card of a file of this network; ``fields`` are the fields that only a card has."""
        return ModelCard(**self._facts(), **fields)

    def _facts(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in dataclass_fields(ModelInfo)}


@dataclass(frozen=True, repr=False)
class ModelCard(ModelInfo):
    """Description stored in an exported file: the network's info and fields of this file.

    Attributes:
        precision: Precision of the file.
        input: Content of the file's input tensor.
        quantization: Quantization of the file; None for float files.
        probabilities: Whether the file applies the output activation itself, so that it returns
            probabilities instead of logits.
        toolkit: Name and release of the program that wrote the file.
        digest: Digest over the file's bytes (`edge_effnet.digest`).
    """

    precision: Precision = "fp32"
    input: InputKind = "normalised"
    quantization: Quantization | None = None
    probabilities: bool = False
    toolkit: str = field(default=f"edge-effnet {VERSION}")
    digest: str = ""

    def __repr__(self) -> str:
        return (
            f"ModelCard({self.variant} {self.precision}, {self.preprocess.size} px, "
            f"{len(self.labels):,} classes)"
        )

    @property
    def info(self) -> ModelInfo:
        """The network's part of the card, as `ModelInfo`."""
        return ModelInfo(**self._facts())

    def with_(self, **changes: Any) -> ModelCard:
        """A copy with the fields ``changes`` replaced."""
        return replace(self, **changes)

    def to_json(self) -> str:
        """Compact JSON with sorted keys; equal cards give equal bytes."""
        content = {"schema": SCHEMA, **asdict(self)}
        for path, name, usual in _OMITTED:  # older releases can read this card too
            part: Any = content
            for section in path:
                part = None if part is None else part[section]
            if part is not None and part[name] == usual:
                del part[name]
        if self.quantization is not None:  # their name in schema 1
            content["quantization"]["floats"] = content["quantization"].pop("float_layers")
        return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card in JSON ``text``.

        Raises:
            ModelFileError: The text is damaged or of a newer schema.
        """
        try:
            content = json_text.parse(text)
            if not isinstance(content, dict) or "schema" not in content:
                raise ValueError("it states no schema")
        except ValueError as error:
            raise ModelFileError(
                f"the model card cannot be read ({error}); export the file again"
            ) from error
        if content["schema"] != SCHEMA:
            raise ModelFileError(
                f"the model card has another schema than {SCHEMA}; it was written by another "
                "release: update edge-effnet"
            )
        quantization = content.get("quantization")
        if isinstance(quantization, dict) and "floats" in quantization:
            quantization = {**quantization, "float_layers": quantization["floats"]}
            content["quantization"] = quantization
        missing = _REQUIRED - content.keys()
        if missing:
            raise ModelFileError(
                f"the model card lacks {', '.join(sorted(missing))}; export the file again"
            )
        card: ModelCard = decode(
            cls, content, "the model card", "export the file again", ModelFileError
        )
        if not card.labels:
            raise ModelFileError("the model card lacks the names of classes; export the file again")
        return card


#: Fields that every card has, although `ModelCard` has defaults for some.
_REQUIRED = {"variant", "preprocess", "labels", "precision", "input"}
#: Fields omitted from the JSON if they have their default: (path of the object, field, default).
_OMITTED: tuple[tuple[tuple[str, ...], str, Any], ...] = (
    ((), "output_activation", "softmax"),
    ((), "multi_label", False),
    ((), "untrained", False),
    ((), "probabilities", False),
    (("quantization",), "compared", ()),
    (("quantization", "calibration"), "appearance", ()),
    (("preprocess",), "crop_mode", "center"),
    (("preprocess",), "resize_first", False),
)
