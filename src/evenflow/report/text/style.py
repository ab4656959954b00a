"""Styles of the terminal, and text for terminals that cannot show every character."""

from collections.abc import Iterable, Iterator

from rich.segment import Segment

TONE = {"error": "bold red", "warning": "bold yellow", "note": "bold blue", "ok": "bold green"}
HEADING = "bold"
QUIET = "dim"

_DASHES_AND_TIMES = "\N{EN DASH}\N{MINUS SIGN}\N{MULTIPLICATION SIGN}"
_TWINS = str.maketrans(f"{_DASHES_AND_TIMES}…▁▂▃▄▅▆▇█─", "--x~_.:-=+*#-")


def encodable(segments: Iterable[Segment], encoding: str) -> Iterator[Segment]:
    """Replace the characters that `encoding` does not have, one by one, so that nothing moves."""
    for segment in segments:
        yield Segment(plain(segment.text, encoding), segment.style, segment.control)


def plain(text: str, encoding: str) -> str:
    """Write text with the characters of an encoding only.

    Examples:
        >>> plain("1 – 2 … 3", "ascii")
        '1 - 2 ~ 3'
    """
    return "".join(
        c if _has(encoding, c) else c.translate(_TWINS).encode(encoding, "replace").decode(encoding) for c in text
    )


def _has(encoding: str, character: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def shortened(name: str, width: int) -> str:
    """Cut a qualified name at its beginning: the end tells more.

    Examples:
        >>> shortened("encoder.layers.11.attention.out_proj", 20)
        '….attention.out_proj'
    """
    return name if len(name) <= width else f"…{name[len(name) - width + 1 :]}"
