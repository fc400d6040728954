"""Texts for a terminal: names from files are shown without characters that would steer it."""

from __future__ import annotations

__all__ = ["shown", "shown_json", "shown_lines"]


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


def shown_lines(text: str) -> str:
    r"""Return a text of several lines, of which each is `shown`.

    A name with a line break in it would begin a line of its own, and could pass for a line of a log. So every line but
    the first begins with blanks; most do anyway, since they list something.

    Parameters
    ----------
    text : str
        A message.

    Examples
    --------
    >>> print(shown_lines("no group x\n12:00:00 ERROR: disk\x1b[2K"))
    no group x
      12:00:00 ERROR: disk\x1b[2K
    """
    if text.isprintable():
        return text
    first, *others = text.split("\n")
    lines = [line if line.startswith("  ") or not line else f"  {line}" for line in others]
    return "\n".join(map(shown, [first, *lines]))


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
