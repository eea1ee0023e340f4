r"""Any text as TeX that prints it: plain ASCII that needs no input encoding, and no command of the text's own."""

import re
import unicodedata

LIMIT = 16
"""Characters of one word, a path or an identifier, after which TeX may break the line inside it."""

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": "{`}",  # the group keeps it from making a ligature with what stands before it
} | {character: f"\\{character}" for character in "&%$#_{}"}

GREEK_COMMANDS = (
    "alpha", "beta", "gamma", "delta", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu",
    "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "varphi", "chi", "psi", "omega", "Gamma",
    "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
)  # fmt: skip
GREEK_LETTERS = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"
GREEK = {letter: f"$\\{command}$" for letter, command in zip(GREEK_LETTERS, GREEK_COMMANDS, strict=True)}

SIGNS = {
    "–": "{--}",
    "—": "{---}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "°": r"$^\circ$",
    "²": r"$^2$",
    "³": r"$^3$",
    "µ": r"$\mu$",
    "…": r"\ldots{}",
    "‘": "{`}",
    "’": "{'}",
    "“": "{``}",
    "”": "{''}",
    "«": r"$\ll$",
    "»": r"$\gg$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
}
LETTERS = {
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
}
ACCENTS = {
    "\u0300": r"\`",
    "\u0301": r"\'",
    "\u0302": r"\^",
    "\u0303": r"\~",
    "\u0304": r"\=",
    "\u0306": r"\u",
    "\u0307": r"\.",
    "\u0308": r"\"",
    "\u030a": r"\r",
    "\u030b": r"\H",
    "\u030c": r"\v",
    "\u0327": r"\c",
}
"""Combining marks that every text font of TeX composes."""

KNOWN = SPECIAL | GREEK | SIGNS | LETTERS


def escape(text: str) -> str:
    """Text that TeX prints as it is, in ASCII: special characters escaped, western and Greek letters as commands, no line
    break that could end a paragraph or a comment. Characters that TeX's default fonts lack are printed as their code
    points, [U+6F22 U+5B57], so that two names stay two names. Long words may break.
    """
    flat = " ".join(unicodedata.normalize("NFC", text).split())
    return " ".join(_word(word) for word in flat.split(" ")) if flat else ""


def _word(word: str) -> str:
    pieces = [word[at : at + LIMIT] for at in range(0, len(word), LIMIT)]
    return r"\allowbreak{}".join(_characters(piece) for piece in pieces)


def _characters(text: str) -> str:
    """Runs of characters without a glyph share one pair of brackets; two hyphens stay two."""
    runs = re.split(r"([^\x21-\x7e]+)", text)
    return "".join(_foreign(run) if at % 2 else _ascii(run) for at, run in enumerate(runs))


def _ascii(text: str) -> str:
    return "".join(SPECIAL.get(c, c) for c in text).replace("--", "-{}-").replace("--", "-{}-")


def _foreign(text: str) -> str:
    printed, unknown = "", list[str]()
    for character in text:
        known = KNOWN.get(character) or _composed(character)
        if known is None:
            unknown.append(f"U+{ord(character):04X}")
            continue
        printed += _bracketed(unknown) + known
        unknown = []
    return printed + _bracketed(unknown)


def _bracketed(unknown: list[str]) -> str:
    return f"[{' '.join(unknown)}]" if unknown else ""


def _composed(character: str) -> str | None:
    """An accented letter as accent and letter, None where TeX cannot compose it."""
    parts = unicodedata.normalize("NFD", character)
    if len(parts) != 2 or not (parts[0].isascii() and parts[0].isalpha()) or parts[1] not in ACCENTS:
        return None
    return f"{ACCENTS[parts[1]]}{{{parts[0]}}}"
