"""Choice of the class names that a checkpoint holds."""

from __future__ import annotations

from edge_effnet.checkpoints.source import Checkpoint

_SHOWN, _LONGEST = 3, 30  # names in a note, and characters of each


def chosen(
    checkpoint: Checkpoint, recorded: tuple[str, ...] | None, counts: tuple[int, ...]
) -> tuple[tuple[str, ...] | None, str | None]:
    """The class names of ``checkpoint``, and a note on where they come from or why there are none.

    Args:
        checkpoint: The checkpoint, with the lists of names in its file.
        recorded: Names that the library records, for example in timm's config.json. They are
            preferred.
        counts: Numbers of names that fit the outputs.
    """
    file = checkpoint.path.name
    if recorded is not None and len(recorded) in counts:
        return recorded, None
    fitting = [each for each in checkpoint.class_names if len(each.names) in counts]
    if len({each.names for each in fitting}) > 1:
        places = " and ".join(dict.fromkeys(each.place for each in fitting))
        return None, (
            f"different class names are stored ({places}): none are used; give the right ones"
        )
    if fitting:
        names = fitting[0].names
        shown = ", ".join(name[:_LONGEST] for name in names[:_SHOWN])
        more = ", ..." if len(names) > _SHOWN else ""
        return names, (
            f"the class names are {fitting[0].place}: {shown}{more}; names that you give replace "
            "them"
        )
    others = [(each.place, len(each.names)) for each in checkpoint.class_names]
    if recorded is not None:
        others.insert(0, ("the library's record", len(recorded)))
    if others:
        place, number = others[0]
        return None, (
            f"{number:,} class names are stored ({place}), but the network of {file} has "
            f"{counts[-1]:,} output{'s' * (counts[-1] > 1)}: they are not used; give one name a "
            "class"
        )
    return None, None
