"""External delegates of LiteRT as shared libraries that crash, hang, refuse or take no operator."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

#: TfLiteDelegate: data, Prepare and flags are enough for a delegate that takes no operator.
_IDLE = """
#include <stdlib.h>
typedef struct { void *data; int (*prepare)(void *, void *); void *more[14]; } Delegate;
static int prepare(void *context, void *delegate) { return 0; }
void *tflite_plugin_create_delegate(char **k, char **v, size_t n, void (*report)(const char *)) {
    Delegate *delegate = calloc(1, sizeof(Delegate) + 256);
    delegate->prepare = prepare;
    return delegate;
}
void tflite_plugin_destroy_delegate(void *delegate) { free(delegate); }
"""
_ON_LOAD = "#include <{header}>\n__attribute__((constructor)) static void f(void) {{ {call}; }}"
SOURCES = {
    "crashes": _ON_LOAD.format(header="stdlib.h", call="abort()"),
    "hangs": _ON_LOAD.format(header="unistd.h", call="sleep(600)"),
    "foreign": "int nothing(void) { return 0; }",
    "refuses": _IDLE.replace(
        "Delegate *delegate = calloc", 'report("no device"); return 0; Delegate *delegate = calloc'
    ),
    "idle": _IDLE,
}


def library(kind: str, folder: Path) -> Path:
    """The delegate ``kind`` of `SOURCES`, compiled; skips without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("compiling a delegate needs a C compiler")
    source = folder / f"{kind}.c"
    source.write_text(SOURCES[kind])
    target = folder / f"lib{kind}_delegate.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", target, source], check=True)
    return target
