"""Reader of PyTorch's pickles as plain data; nothing in the file is imported or called.

A pickle is a program for a small stack machine. Python's unpickler is unsafe even if ``find_class``
refuses every name. A hundred bytes can make it hash nested tuples for hours. Three megabytes can
overflow the C stack, and nine bytes can request gigabytes of memo.

This module therefore decodes the opcodes with the standard library's `pickletools` and interprets
them itself. The interpreter supports dicts, lists, tuples, scalars and the names in `_GLOBALS`. Its
time and memory are proportional to the size of the file. Objects of other classes become `Opaque`
placeholders with their arguments. A pickle that references functions to run programs or open files
is refused.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickletools
from collections.abc import Callable, Iterable, Mapping

from edge_effnet.checkpoints.readers.damage import DAMAGE
from edge_effnet.checkpoints.readers.values import (
    DTYPES,
    ELEMENTS,
    DType,
    Opaque,
    Storage,
    Tensor,
)
from edge_effnet.errors import CheckpointError

MAX_BYTES = 16 << 20  # the largest EfficientNet's state dict needs less than 1 MB
_MAX_STEPS = 2_000_000
_MAX_NUMBER = 1 << 40  # larger than any size, stride or offset of a real tensor
_MAX_RANK = 16
_MAX_INDEX = 1_000_000  # of a class
_LONGEST_NAME = 200

_SAVE_STATE_DICT = (
    "where the model can be loaded, run torch.save(model.state_dict(), 'weights.pth') "
    "and use that file"
)
#: Python modules that run programs, load code or open files. A pickle that references them is
#: refused.
_DANGEROUS_MODULES = frozenset(
    """
    asyncio bdb code codeop commands ctypes dill ftplib http importlib io marshal
    multiprocessing nt os pdb pickle posix pty runpy shutil signal smtplib socket subprocess sys
    telnetlib tempfile timeit urllib webbrowser
    """.split()  # noqa: SIM905
)
_SAFE_BUILTINS = frozenset(
    """
    abs all any bool bytearray bytes complex dict enumerate filter float frozenset getattr int len
    list map max min object pow print property range reversed round set slice sorted str sum super
    tuple type zip Ellipsis NotImplemented NoneType
    """.split()  # noqa: SIM905
)
_DANGEROUS_NAMES = (
    *("torch.load", "torch.hub.", "torch.utils.cpp_extension", "numpy.load"),
    *("types.CodeType", "types.FunctionType", "types.LambdaType"),
)


def load(stream: io.BytesIO) -> tuple[object, dict[str, Storage]]:
    """Read one pickle at the position of ``stream``, which is then at the byte after the pickle.

    Returns the content of the pickle, and its storages by key. The content consists of dicts with
    str keys, lists, tuples, scalars, `Tensor`, `Storage`, `DType` and `Opaque`. It may be nested
    arbitrarily deep, so the caller must limit its recursion. Raises `CheckpointError` without the
    file's name, which the caller adds.
    """
    machine = _Machine()
    try:
        return machine.run(stream), machine.storages
    except DAMAGE as error:
        raise _damaged("it is cut short or altered") from error


class _Machine:
    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self._stack: list[object] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def run(self, stream: io.BytesIO) -> object:
        for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if step > _MAX_STEPS:
                raise _damaged(f"it takes more than {_MAX_STEPS} steps")
            if opcode.name in _VALUES:
                self._stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[opcode.name])
            else:
                self._step(opcode.name, argument)
        return self._stack.pop()

    def _step(self, name: str, argument: object) -> None:
        stack = self._stack
        match name:
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[_number(argument)])
            case "BINPUT" | "LONG_BINPUT":
                self._memo[_number(argument)] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "MARK":
                self._marks.append(len(stack))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._take(len(stack) - int(name[-1]))))
            case "TUPLE":
                stack.append(tuple(self._take_marked()))
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "LIST" | "FROZENSET":  # sets become lists, because hashing their items is not safe
                stack.append(self._take_marked())
            case "APPEND":
                self._extend(self._take(len(stack) - 1))
            case "APPENDS" | "ADDITEMS":
                self._extend(self._take_marked())
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM":
                self._update(self._take(len(stack) - 2))
            case "SETITEMS":
                self._update(self._take_marked())
            case "GLOBAL":
                module, _, attribute = str(argument).partition(" ")
                stack.append(_global(module, attribute))
            case "STACK_GLOBAL":
                names = self._take(len(stack) - 2)
                stack.append(_global(_text(names[0]), _text(names[1])))
            case "REDUCE" | "NEWOBJ":
                function, arguments = self._take(len(stack) - 2)
                stack.append(_call(function, arguments))
            case "NEWOBJ_EX":
                function, arguments, keywords = self._take(len(stack) - 3)
                stack.append(_call(function, (arguments, keywords)))
            case "BUILD":  # attributes such as _metadata of a state dict are ignored
                (state,) = self._take(len(stack) - 1)
                if isinstance(stack[-1], Opaque):
                    stack[-1].parts.append(state)
            case "POP":
                if self._marks and self._marks[-1] == len(stack):
                    self._marks.pop()
                else:
                    self._take(len(stack) - 1)
            case "POP_MARK":
                self._take_marked()
            case "BINPERSID":
                stack.append(self._persistent(stack.pop()))
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _:
                raise _damaged(f"it uses the instruction {name}, which PyTorch never writes")

    def _take(self, start: int) -> list[object]:
        if start < 0:
            raise _damaged("it ends a list that it never began")
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _take_marked(self) -> list[object]:
        return self._take(self._marks.pop())

    def _extend(self, items: list[object]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Opaque):
            target.parts.extend(items)
        else:
            raise _damaged("it appends to something that is not a list")

    def _update(self, items: list[object]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            target.update(_named(zip(items[::2], items[1::2], strict=True)))
        elif isinstance(target, Opaque):
            target.parts.append(_named(zip(items[::2], items[1::2], strict=True)))
        else:
            raise _damaged("it sets items of something that is not a dict")

    def _persistent(self, reference: object) -> Storage | Opaque:
        """Convert ``('storage', type, key, device, length[, view])`` to a `Storage`.

        In old files, ``('module', class, file, source)`` is the class of a module.
        """
        if isinstance(reference, tuple) and reference[:1] == ("module",) and len(reference) > 1:
            module: object = reference[1]
            return module if isinstance(module, Opaque) else Opaque("module")
        if not isinstance(reference, tuple) or not 5 <= len(reference) <= 6:
            raise _damaged("a storage in it is of an unknown kind")
        kind, dtype, key, _, length, *view = reference
        if kind != "storage" or not isinstance(dtype, DType) or view not in ([], [None]):
            raise _damaged("a storage in it is of an unknown kind")
        storage = Storage(_text(key), dtype, _number(length))
        if self.storages.setdefault(storage.key, storage) != storage:
            raise _damaged("one storage in it is described in two ways")
        return storage


def _global(module: str, attribute: str) -> object:
    # Protocol 2 writes Python 2's names, also from Python 3: int is __builtin__.long.
    module, attribute = _compat_pickle.NAME_MAPPING.get((module, attribute), (module, attribute))
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
    name = f"{module}.{attribute}"
    if name in _GLOBALS:
        return _GLOBALS[name]
    root = module.split(".")[0].lstrip("_")
    dangerous = root in _DANGEROUS_MODULES or name.startswith(_DANGEROUS_NAMES)
    if dangerous or (module == "builtins" and attribute not in _SAFE_BUILTINS):
        shown = ascii(name[:100])[1:-1]
        raise CheckpointError(
            f"it asks Python to run {shown}, which has no place in a checkpoint; nothing was run. "
            f"Use a file from a source you trust; if it is your own, {_SAVE_STATE_DICT}"
        )
    return Opaque(name[:_LONGEST_NAME])


def _call(function: object, arguments: object) -> object:
    if isinstance(function, Opaque):
        return Opaque(function.name, [arguments])
    if not callable(function) or not isinstance(arguments, tuple) or len(arguments) > _MAX_RANK:
        raise _damaged("it calls something that is not a function")
    return function(*arguments)


def _tensor_v2(
    storage: object, offset: object, shape: object, stride: object, *rest: object
) -> Tensor:
    """A tensor; ``rest`` is requires_grad, backward_hooks and, since PyTorch 2.0, metadata."""
    return _tensor(storage, offset, shape, stride, None, rest[2:])


def _tensor_v3(
    storage: object, offset: object, shape: object, stride: object, *rest: object
) -> Tensor:
    """A tensor; ``rest`` is requires_grad, backward_hooks, dtype, metadata."""
    return _tensor(storage, offset, shape, stride, rest[2], rest[3:])


def _quantized(
    storage: object, offset: object, shape: object, stride: object, *_rest: object
) -> Tensor:
    return _tensor(storage, offset, shape, stride, None, ())


def _tensor(
    storage: object,
    offset: object,
    shape: object,
    stride: object,
    dtype: object,
    metadata: tuple[object, ...],
) -> Tensor:
    if not isinstance(storage, Storage):
        raise _damaged("a tensor in it has no storage")
    if any(metadata):
        raise CheckpointError(
            "it holds a lazily negated or conjugated tensor; save it again after "
            "tensor.resolve_neg().resolve_conj()"
        )
    element = storage.dtype if dtype is None else dtype
    if not isinstance(element, DType):
        raise _damaged("a tensor in it has no element type")
    sizes, steps = numbers(shape), numbers(stride)
    if len(sizes) != len(steps):
        raise _damaged("the shape and the strides of a tensor in it differ in length")
    return Tensor(storage, element, _number(offset), sizes, steps)


def _from_type(function: object, _kind: object, arguments: object, *_state: object) -> object:
    return _call(function, arguments)


def _parameter(data: object = None, *_rest: object) -> object:
    return data if isinstance(data, Tensor) else Opaque("torch.nn.parameter.Parameter", [data])


def _dict(items: object = None) -> dict[str, object]:
    if items is None:
        return {}
    if isinstance(items, dict):
        return items
    if not isinstance(items, list) or not all(_is_pair(item) for item in items):
        raise _damaged("an ordered dict in it is not made of pairs")
    result = _named(items)
    items.clear()  # Python 2 wrote lists of pairs. Clearing the list prevents repeated copies.
    return result


def _is_pair(item: object) -> bool:
    return isinstance(item, (list, tuple)) and len(item) == 2


def _named(pairs: Iterable[tuple[object, object]]) -> dict[str, object]:
    """A dict of the pairs with a str key; hashing keys of other types is not safe.

    Indices of texts are kept as str: ``{0: "daisy"}``, the names of classes.
    """
    named: dict[str, object] = {}
    for key, value in pairs:
        if isinstance(key, str):
            named[key] = value
        elif type(key) is int and isinstance(value, str) and 0 <= key < _MAX_INDEX:
            named[str(key)] = value
    return named


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _damaged("a name in it is not a text")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < _MAX_NUMBER:
        raise _damaged("a size in it is impossible")
    return value


def numbers(values: object) -> tuple[int, ...]:
    """A shape or stride from a file as a tuple, checked to be plausible numbers."""
    if not isinstance(values, (tuple, list)) or len(values) > _MAX_RANK:
        raise _damaged("the shape of a tensor in it is impossible")
    return tuple(_number(value) for value in values)


def _damaged(reason: str) -> CheckpointError:
    return CheckpointError(f"its pickle is damaged ({reason}); fetch or save the file again")


_CONSTANTS: Mapping[str, object] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}

# All names that the reader interprets. The functions are those of this module, not PyTorch's.
_GLOBALS: Mapping[str, Callable[..., object] | DType] = {
    **{f"torch.{name}": dtype for name, dtype in DTYPES.items()},
    **{f"torch.{storage}": DTYPES[name] for name, _, storage in ELEMENTS if storage},
    **{f"torch.cuda.{storage}": DTYPES[name] for name, _, storage in ELEMENTS if storage},
    "torch.storage.UntypedStorage": DTYPES["uint8"],
    "torch._utils._rebuild_tensor": _tensor_v2,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Size": numbers,
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": lambda *_factory: {},
}
