"""The commands: each module parses, calls one verb, and prints.

`COMMANDS` is the one list: name -> (module, function), in the order of ``edge-effnet --help``.
"""

COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("describe", "list_variants"),
    "info": ("describe", "info"),
    "tables": ("tables", "tables"),
    "export": ("export", "export"),
    "analyze": ("analyze", "analyze"),
    "convert-weights": ("convert_weights", "convert_weights"),
    "classify": ("classify", "classify"),
    "evaluate": ("measure", "evaluate"),
    "benchmark": ("measure", "benchmark"),
    "compare": ("measure", "compare"),
    "sweep": ("sweep", "sweep"),
    "check": ("check", "check"),
    "bench": ("bench", "bench"),
    "device": ("device", "device"),
    "profile": ("profile", "profile"),
    "predict": ("profile", "predict"),
    "select": ("select", "select"),
    "fit": ("fit", "fit"),
    "bundle": ("device", "bundle"),
    "camera": ("camera", "camera"),
    "web": ("web", "web"),
    "demo": ("demo", "demo"),
    "doctor": ("doctor", "doctor"),
}
