"""Texts for a terminal: names from files are shown without characters that would steer it."""

from __future__ import annotations

__all__ = ["shown", "shown_json"]


def shown(text: object) -> str:
    r"""Return a text with everything that is not printable written as an escape, ``\x1b`` for example.

    A file may call a group anything. A terminal would obey the control characters in its name: move the cursor,
    change colours, hide what stands before. Line breaks and marks that turn the direction of writing are escaped, too.

    Parameters
    ----------
    text : object
        A name, a path, a value of a header; anything that is no text is turned into one.

    Examples
    --------
    >>> shown("CST_L")
    'CST_L'
    >>> print(shown("CST\x1b[2K\nall good"))
    CST\x1b[2K\nall good
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)


def shown_json(text: str) -> str:
    r"""Return a JSON text with everything that is not printable as ``\u`` and four digits; it means the same.

    Parameters
    ----------
    text : str
        As `json.dumps` writes it; its line breaks stay.

    Examples
    --------
    >>> print(shown_json('["\x9b2K"]'))
    ["\u009b2K"]
    """
    parts = []
    for part in text:
        if part.isprintable() or part == "\n":
            parts.append(part)
        else:  # beyond the first plane JSON has pairs
            units = part.encode("utf-16-be", "surrogatepass").hex()
            parts += [f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)]
    return "".join(parts)
