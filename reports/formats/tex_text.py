"""Any text as TeX that prints it: plain ASCII that needs no input encoding, and no command of the text's own."""

import re
import unicodedata

LIMIT = 16
"""Characters of one word, a path or an identifier, after which TeX may break the line inside it."""

SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "`": "{`}",  # the group keeps it from making a ligature with the character before it
}  # fmt: skip
GREEK_COMMANDS = (
    "alpha", "beta", "gamma", "delta", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "pi", "rho", "sigma", "tau", "upsilon", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi",
    "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
)  # fmt: skip
GREEK_LETTERS = "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ"
GREEK = {letter: f"$\\{command}$" for letter, command in zip(GREEK_LETTERS, GREEK_COMMANDS, strict=True)}
SIGNS = {
    "–": r"\textendash{}", "—": r"\textemdash{}", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$",
    "→": r"$\rightarrow$", "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "∞": r"$\infty$", "°": r"$^\circ$",
    "²": r"$^2$", "³": r"$^3$", "µ": r"$\mu$", "…": r"\ldots{}", "‘": "{`}", "’": "{'}", "“": "{``}", "”": "{''}",
    "«": r"$\ll$", "»": r"$\gg$", "†": r"$\dagger$", "‡": r"$\ddagger$",
}  # fmt: skip
LETTERS = {
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}",
    "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
}  # fmt: skip
ACCENTS = {
    "\u0300": r"\`", "\u0301": r"\'", "\u0302": r"\^", "\u0303": r"\~", "\u0304": r"\=", "\u0306": r"\u",
    "\u0307": r"\.", "\u0308": r"\"", "\u030a": r"\r", "\u030b": r"\H", "\u030c": r"\v", "\u0327": r"\c",
}  # fmt: skip
"""Combining marks that every text font of TeX composes."""
KNOWN = SPECIAL | GREEK | SIGNS | LETTERS
OPEN, CLOSE = "\x01", "\x02"
"""Stand-ins for the brackets around code points; the text's own control characters are printed as code points."""


def escape(text: str) -> str:
    """Return text that TeX prints as it is, in ASCII.

    Special characters are escaped; western and Greek letters are commands. White space is one space, so no line break can
    end a paragraph or a comment. Characters that TeX's default fonts lack are printed as their code points,
    [U+6F22 U+5B57], so that two names stay two names. Long words may break.
    """
    return " ".join(_word(word) for word in unicodedata.normalize("NFC", text).split())


def _word(word: str) -> str:
    pieces = ["".join(map(_character, word[at : at + LIMIT])) for at in range(0, len(word), LIMIT)]
    tex = r"\allowbreak{}".join(re.sub("-(?=-)", "-{}", piece) for piece in pieces)
    return tex.replace(CLOSE + OPEN, " ").replace(OPEN, "[").replace(CLOSE, "]")


def _character(character: str) -> str:
    ascii_or_code_point = character if "!" <= character <= "~" else f"{OPEN}U+{ord(character):04X}{CLOSE}"
    return KNOWN.get(character) or _composed(character) or ascii_or_code_point


def _composed(character: str) -> str:
    """Return an accented letter as accent and letter, or "" if TeX cannot compose it."""
    parts = unicodedata.normalize("NFD", character)
    composes = len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS
    return f"{ACCENTS[parts[1]]}{{{parts[0]}}}" if composes else ""
