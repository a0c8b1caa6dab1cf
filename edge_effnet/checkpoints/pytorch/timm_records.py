"""Input side, crop and normalisation of all weights released by timm.

Source: timm 1.0.31, ``generate_default_cfgs`` in timm/models/efficientnet.py. Sides and crops are
those for testing (``use_test_size`` in timm/data/config.py). ``make parity`` compares every row
with the installed timm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from edge_effnet.preprocess import (
    CROP_MODES,
    HALVES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    INTERPOLATIONS,
    CropMode,
    Interpolation,
    Preprocess,
)

_CLASSES = {"in1k": 1000, "in21k": 21843, "in12k": 11821}
_NORMALISATIONS = {"imagenet": (IMAGENET_MEAN, IMAGENET_STD), "inception": (HALVES, HALVES)}
_SIZES = {"es": "edgetpu-s", "em": "edgetpu-m", "el": "edgetpu-l"}
_HASH = re.compile(r"-[0-9a-f]{8}$")


@dataclass(frozen=True)
class WeightRecord:
    """One row of timm's registry.

    Attributes:
        name: Architecture and tag, for example ``tf_efficientnet_b0.ns_jft_in1k``.
        file: Name of the released .pth without its suffix; empty if there is none.
        size: Input side in pixels.
        crop: Fraction of the photo's side that the input covers.
        normalisation: ``imagenet`` or ``inception`` (mean and deviation 0.5 of white).
        crop_mode: timm's crop mode.
        interpolation: Resize filter.
    """

    name: str
    file: str
    size: int
    crop: float
    normalisation: str
    crop_mode: CropMode = "center"
    interpolation: Interpolation = "bicubic"

    @property
    def tensorflow(self) -> bool:
        """Whether the weights are of a ``tf_`` network."""
        return self.name.startswith("tf_")

    @property
    def variant(self) -> str:
        """Name of the variant."""
        family, _, size = self.name.removeprefix("tf_").partition(".")[0].partition("_")
        return f"{family}-{_SIZES.get(size, size)}"

    @property
    def classes(self) -> int:
        """Number of classes of the released classifier."""
        (last,) = re.findall(r"(in\d+k)(?:_\d+)?$", self.name)
        return _CLASSES[last]

    def preprocess(self, size: int) -> Preprocess:
        """The preprocessing at ``size`` pixels."""
        mean, std = _NORMALISATIONS[self.normalisation]
        return Preprocess(size, self.crop, self.interpolation, mean, std, self.crop_mode, True)


# name, file, size, crop, normalisation; then crop mode and interpolation if not the default
_ROWS = """\
efficientnet_b0.ra4_e3600_r224_in1k - 256 1 inception
efficientnet_b0.ra_in1k efficientnet_b0_ra-3dd342df 224 0.875 imagenet
efficientnet_b1.ft_in1k efficientnet_b1-533bc792 256 1 imagenet
efficientnet_b1.ra4_e3600_r240_in1k - 288 1 inception
efficientnet_b2.ra_in1k efficientnet_b2_ra-bcdf34b7 288 1 imagenet
efficientnet_b3.ra2_in1k efficientnet_b3_ra2-cf984f9c 320 1 imagenet
efficientnet_b4.ra2_in1k efficientnet_b4_ra2_320-7eb33cd5 384 1 imagenet
efficientnet_b5.sw_in12k - 416 0.95 imagenet
efficientnet_b5.sw_in12k_ft_in1k - 448 1 imagenet squash
efficientnet_el.ra_in1k efficientnet_el-3b455510 300 0.904 imagenet
efficientnet_em.ra2_in1k efficientnet_em_ra2-66250f76 240 0.882 imagenet
efficientnet_es.ra_in1k efficientnet_es_ra-f111e99c 224 0.875 imagenet
efficientnet_lite0.ra_in1k efficientnet_lite0_ra-37913777 224 0.875 imagenet
tf_efficientnet_b0.aa_in1k tf_efficientnet_b0_aa-827b6e33 224 0.875 imagenet
tf_efficientnet_b0.ap_in1k tf_efficientnet_b0_ap-f262efe1 224 0.875 inception
tf_efficientnet_b0.in1k tf_efficientnet_b0-0af12548 224 0.875 imagenet
tf_efficientnet_b0.ns_jft_in1k tf_efficientnet_b0_ns-c0e6a31c 224 0.875 imagenet
tf_efficientnet_b1.aa_in1k tf_efficientnet_b1_aa-ea7a6ee0 240 0.882 imagenet
tf_efficientnet_b1.ap_in1k tf_efficientnet_b1_ap-44ef0a3d 240 0.882 inception
tf_efficientnet_b1.in1k tf_efficientnet_b1-5c1377c4 240 0.882 imagenet
tf_efficientnet_b1.ns_jft_in1k tf_efficientnet_b1_ns-99dd0c41 240 0.882 imagenet
tf_efficientnet_b2.aa_in1k tf_efficientnet_b2_aa-60c94f97 260 0.89 imagenet
tf_efficientnet_b2.ap_in1k tf_efficientnet_b2_ap-2f8e7636 260 0.89 inception
tf_efficientnet_b2.in1k tf_efficientnet_b2-e393ef04 260 0.89 imagenet
tf_efficientnet_b2.ns_jft_in1k tf_efficientnet_b2_ns-00306e48 260 0.89 imagenet
tf_efficientnet_b3.aa_in1k tf_efficientnet_b3_aa-84b4657e 300 0.904 imagenet
tf_efficientnet_b3.ap_in1k tf_efficientnet_b3_ap-aad25bdd 300 0.904 inception
tf_efficientnet_b3.in1k tf_efficientnet_b3-e3bd6955 300 0.904 imagenet
tf_efficientnet_b3.ns_jft_in1k tf_efficientnet_b3_ns-9d44bf68 300 0.904 imagenet
tf_efficientnet_b4.aa_in1k tf_efficientnet_b4_aa-818f208c 380 0.922 imagenet
tf_efficientnet_b4.ap_in1k tf_efficientnet_b4_ap-dedb23e6 380 0.922 inception
tf_efficientnet_b4.in1k tf_efficientnet_b4-74ee3bed 380 0.922 imagenet
tf_efficientnet_b4.ns_jft_in1k tf_efficientnet_b4_ns-d6313a46 380 0.922 imagenet
tf_efficientnet_b5.aa_in1k tf_efficientnet_b5_aa-99018a74 456 0.934 imagenet
tf_efficientnet_b5.ap_in1k tf_efficientnet_b5_ap-9e82fae8 456 0.934 inception
tf_efficientnet_b5.in1k tf_efficientnet_b5-c6949ce9 456 0.934 imagenet
tf_efficientnet_b5.ns_jft_in1k tf_efficientnet_b5_ns-6f26d0cf 456 0.934 imagenet
tf_efficientnet_b5.ra_in1k tf_efficientnet_b5_ra-9a3e5369 456 0.934 imagenet
tf_efficientnet_b6.aa_in1k tf_efficientnet_b6_aa-80ba17e4 528 0.942 imagenet
tf_efficientnet_b6.ap_in1k tf_efficientnet_b6_ap-4ffb161f 528 0.942 inception
tf_efficientnet_b6.ns_jft_in1k tf_efficientnet_b6_ns-51548356 528 0.942 imagenet
tf_efficientnet_b7.aa_in1k tf_efficientnet_b7_aa-076e3472 600 0.949 imagenet
tf_efficientnet_b7.ap_in1k tf_efficientnet_b7_ap-ddb28fec 600 0.949 inception
tf_efficientnet_b7.ns_jft_in1k tf_efficientnet_b7_ns-1dbc32de 600 0.949 imagenet
tf_efficientnet_b7.ra_in1k tf_efficientnet_b7_ra-6c08e654 600 0.949 imagenet
tf_efficientnet_b8.ap_in1k tf_efficientnet_b8_ap-00e169fa 672 0.954 inception
tf_efficientnet_b8.ra_in1k tf_efficientnet_b8_ra-572d5dd9 672 0.954 imagenet
tf_efficientnet_el.in1k tf_efficientnet_el-5143854e 300 0.904 inception
tf_efficientnet_em.in1k tf_efficientnet_em-e78cfe58 240 0.882 inception
tf_efficientnet_es.in1k tf_efficientnet_es-ca1afbfe 224 0.875 inception
tf_efficientnet_l2.ns_jft_in1k tf_efficientnet_l2_ns-df73bb44 800 0.96 imagenet
tf_efficientnet_l2.ns_jft_in1k_475 tf_efficientnet_l2_ns_475-bebbd00a 475 0.936 imagenet
tf_efficientnet_lite0.in1k tf_efficientnet_lite0-0aa007d2 224 0.875 inception
tf_efficientnet_lite1.in1k tf_efficientnet_lite1-bde8b488 240 0.882 inception
tf_efficientnet_lite2.in1k tf_efficientnet_lite2-dcccb7df 260 0.89 inception
tf_efficientnet_lite3.in1k tf_efficientnet_lite3-b733e338 300 0.904 inception bilinear
tf_efficientnet_lite4.in1k tf_efficientnet_lite4-741542c3 380 0.92 inception bilinear
tf_efficientnetv2_b0.in1k tf_efficientnetv2_b0-c7cc451f 224 0.875 imagenet
tf_efficientnetv2_b1.in1k tf_efficientnetv2_b1-be6e41b0 240 0.882 imagenet
tf_efficientnetv2_b2.in1k tf_efficientnetv2_b2-847de54e 260 0.89 imagenet
tf_efficientnetv2_b3.in1k tf_efficientnetv2_b3-57773f13 300 0.904 imagenet
tf_efficientnetv2_b3.in21k - 300 0.904 inception
tf_efficientnetv2_b3.in21k_ft_in1k - 300 0.9 inception squash
tf_efficientnetv2_l.in1k tf_efficientnetv2_l-d664b728 480 1 inception squash
tf_efficientnetv2_l.in21k tf_efficientnetv2_l_21k-91a19ec9 480 1 inception squash
tf_efficientnetv2_l.in21k_ft_in1k tf_efficientnetv2_l_21ft1k-60127a9d 480 1 inception squash
tf_efficientnetv2_m.in1k tf_efficientnetv2_m-cc09e0cd 480 1 inception squash
tf_efficientnetv2_m.in21k tf_efficientnetv2_m_21k-361418a2 480 1 inception squash
tf_efficientnetv2_m.in21k_ft_in1k tf_efficientnetv2_m_21ft1k-bf41664a 480 1 inception squash
tf_efficientnetv2_s.in1k tf_efficientnetv2_s-eb54923e 384 1 inception
tf_efficientnetv2_s.in21k tf_efficientnetv2_s_21k-6337ad01 384 1 inception
tf_efficientnetv2_s.in21k_ft_in1k tf_efficientnetv2_s_21ft1k-d7dafa41 384 1 inception
tf_efficientnetv2_xl.in21k tf_efficientnetv2_xl_in21k-fd7e8abf 512 1 inception squash
tf_efficientnetv2_xl.in21k_ft_in1k tf_efficientnetv2_xl_in21ft1k-06c35c48 512 1 inception squash
"""


def _record(row: str) -> WeightRecord:
    name, file, size, crop, normalisation, *others = row.split()
    mode: CropMode = next((m for m in CROP_MODES if m in others), "center")
    interpolation: Interpolation = next((i for i in INTERPOLATIONS if i in others), "bicubic")
    return WeightRecord(
        name, file.strip("-"), int(size), float(crop), normalisation, mode, interpolation
    )


#: Name -> record, for all released weights of supported variants.
RECORDS: dict[str, WeightRecord] = {
    record.name: record for record in map(_record, _ROWS.splitlines())
}


def named_record(texts: Iterable[str], variant: str, tensorflow: bool) -> WeightRecord | None:
    """The record whose name is found first in ``texts``, which are strings or names of paths."""
    for text in texts:
        for record in _longest_first():
            if (record.variant, record.tensorflow) == (variant, tensorflow) and any(
                pattern.search(text) for pattern in _patterns(record)
            ):
                return record
    return None


@lru_cache(maxsize=1)
def _longest_first() -> tuple[WeightRecord, ...]:
    return tuple(sorted(RECORDS.values(), key=lambda record: -len(record.name)))


@lru_cache(maxsize=len(RECORDS))
def _patterns(record: WeightRecord) -> tuple[re.Pattern[str], ...]:
    """Regular expressions that find the record's name or its file's name in a text.

    In the names of train.py's folders, an underscore replaces the dot before the tag.
    """
    architecture, _, tag = record.name.partition(".")
    texts = [rf"{re.escape(architecture)}[._]{re.escape(tag)}(?![a-z0-9])"]
    released = _HASH.sub("", record.file)
    if released and released != architecture:  # b0-0af12548 is identified by its hash only
        texts.append(rf"{re.escape(released)}(?![a-z0-9])")
    if record.file:
        texts.append(re.escape(record.file))
    return tuple(re.compile(rf"(?<![a-z0-9_]){text}") for text in texts)
