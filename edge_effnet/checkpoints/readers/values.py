"""Types of values in files that are not dicts, lists or scalars: tensors and placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DType:
    """An element type by its PyTorch name (``float32``) and its size in bytes."""

    name: str
    itemsize: int


@dataclass(frozen=True)
class Storage:
    """A storage of ``length`` elements; ``key`` is its name in the file."""

    key: str
    dtype: DType
    length: int

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self.length * self.dtype.itemsize


@dataclass(frozen=True)
class Tensor:
    """A view into a storage; ``offset`` and ``stride`` count elements, not bytes."""

    storage: Storage
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(eq=False, repr=False)
class Opaque:
    """Placeholder of the class or function ``name``, or of an instance; it is never executed.

    ``parts`` are the object's arguments, attributes and items.
    """

    name: str
    parts: list[object] = field(default_factory=list)


ELEMENTS = (  # type, bytes, storage class
    ("float64", 8, "DoubleStorage"),
    ("float32", 4, "FloatStorage"),
    ("float16", 2, "HalfStorage"),
    ("bfloat16", 2, "BFloat16Storage"),
    ("int64", 8, "LongStorage"),
    ("int32", 4, "IntStorage"),
    ("int16", 2, "ShortStorage"),
    ("int8", 1, "CharStorage"),
    ("uint8", 1, "ByteStorage"),
    ("bool", 1, "BoolStorage"),
    ("complex64", 8, "ComplexFloatStorage"),
    ("complex128", 16, "ComplexDoubleStorage"),
    ("qint8", 1, "QInt8Storage"),
    ("quint8", 1, "QUInt8Storage"),
    ("qint32", 4, "QInt32Storage"),
    # Newer element types are stored in a torch.storage.UntypedStorage.
    ("uint64", 8, None),
    ("uint32", 4, None),
    ("uint16", 2, None),
    ("float8_e4m3fn", 1, None),
    ("float8_e5m2", 1, None),
)
DTYPES: Mapping[str, DType] = {name: DType(name, size) for name, size, _ in ELEMENTS}
