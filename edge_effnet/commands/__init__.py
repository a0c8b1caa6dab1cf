"""The commands: each module parses options, calls one function, and prints the result.

`GROUPS` lists all commands in the order of ``edge-effnet --help``: heading -> name of the command
-> (module, function).
"""

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Make": {
        "train": ("train", "train"),
        "export": ("export", "export"),
        "analyze": ("analyze", "analyze"),
        "convert-weights": ("convert_weights", "convert_weights"),
        "bundle": ("device", "bundle"),
        "web": ("web", "web"),
    },
    "Run": {
        "classify": ("classify", "classify"),
        "camera": ("camera", "camera"),
    },
    "Measure": {
        "evaluate": ("measure", "evaluate"),
        "benchmark": ("measure", "benchmark"),
        "compare": ("measure", "compare"),
        "sweep": ("sweep", "sweep"),
        "check": ("check", "check"),
        "bench": ("bench", "bench"),
    },
    "Choose": {
        "profile": ("profile", "profile"),
        "predict": ("profile", "predict"),
        "select": ("select", "select"),
        "scale": ("scale", "scale"),
        "search": ("search", "search"),
    },
    "About": {
        "list": ("describe", "list_variants"),
        "info": ("describe", "info"),
        "device": ("device", "device"),
        "doctor": ("doctor", "doctor"),
        "tables": ("tables", "tables"),
        "demo": ("demo", "demo"),
    },
}
#: All commands: name -> (module, function).
COMMANDS = {name: place for group in GROUPS.values() for name, place in group.items()}
