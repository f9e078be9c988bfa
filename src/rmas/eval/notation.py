"""How answers are written: LaTeX or plain maths in one spelling; the numbers and words in it. No torch.

`tidy` changes the spelling and never the value. The surprising thing: a comma is kept as it stands, with its space,
since `1,000` is a number and `1, 2` are two; only what can be nothing else (`{,}`, `,\\!`, a thin space) is taken as
a thousands mark.
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

LONGEST = 2000  # characters; no answer is longer
_LARGEST_EXPONENT = 400  # of ten; a larger one is left to the symbolic comparison and its time limit
MONEY = "¤"  # a dollar sign that means dollars

# One character and how we spell it. A spelling that is a command ends in a space.
_SYMBOLS: Mapping[str, str] = {
    "−": "-", "–": "-", "—": "-", "×": r"\cdot ", "⋅": r"\cdot ", "·": r"\cdot ", "∙": r"\cdot ", "÷": "/",
    "∞": r"\infty ", "π": r"\pi ", "θ": r"\theta ", "√": r"\sqrt ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
    "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "±": r"\pm ", "∓": r"\mp ", "≈": r"\approx ", "∅": r"\emptyset ",
    "²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "º": "°", "％": "%",
    "\u00a0": " ", "\u2009": r"\,", "\u202f": r"\,", "’": "'", "“": '"', "”": '"', "，": ",", "ℝ": r"\mathbb{R}",
}  # fmt: skip
_COMMANDS: Mapping[str, str] = {
    "times": r"\cdot ", "cdot": r"\cdot ", "ast": r"\cdot ", "div": "/", "leq": r"\le ", "leqslant": r"\le ",
    "geq": r"\ge ", "geqslant": r"\ge ", "neq": r"\ne ", "lt": "<", "gt": ">", "colon": ":", "degree": "°",
    "degrees": "°", "langle": "(", "rangle": ")", "lbrack": "[", "rbrack": "]", "lbrace": r"\{", "rbrace": r"\}",
    "dfrac": r"\frac", "tfrac": r"\frac", "cfrac": r"\frac", "vert": "|", "lvert": "|", "rvert": "|",
    "Vert": r"\|", "lVert": r"\|", "rVert": r"\|", "dbinom": r"\binom", "tbinom": r"\binom", "bar": r"\overline",
    "varnothing": r"\emptyset ", "simeq": r"\approx ", "displaystyle": "", "textstyle": "", "limits": "",
    "quad": " ", "qquad": " ", "big": "", "Big": "", "bigg": "", "Bigg": "", "bigl": "", "bigr": "", "Bigl": "",
    "Bigr": "", "biggl": "", "biggr": "", "Biggl": "", "Biggr": "", "rm": "", "bf": "",
}  # fmt: skip
# Words behind a number that multiply it.
FACTORS: Mapping[str, Fraction] = {
    word: Fraction(factor)
    for factor, words in {
        "12": "dozen dozens", "100": "hundred hundreds", "1e3": "thousand thousands", "1e6": "million millions",
        "1e9": "billion billions", "1e12": "trillion trillions", "1/2": "halves", "1/3": "thirds", "1/4": "fourths",
        "1/5": "fifths", "1/6": "sixths", "1/7": "sevenths", "1/8": "eighths", "1/9": "ninths", "1/10": "tenths",
        "1/100": "hundredths", "1e-3": "thousandths", "1e-6": "millionths",
    }.items()
    for word in words.split()
}  # fmt: skip
_SYMBOL = re.compile("|".join(map(re.escape, _SYMBOLS)))
_COMMAND = re.compile(rf"\\({'|'.join(sorted(_COMMANDS, key=len, reverse=True))})(?![A-Za-z])\s*")
_TEXT = r"\\(?:text(?:bf|it|rm|tt|sf|normal)?|mbox|hbox|math(?:rm|bf|it|sf|tt|normal)|emph|fbox|boxed|underline)\s*\{"
_ARGUMENT = r"(\d|\\pi|[a-z])"  # of a \frac that has no braces
_LAST_ARGUMENT = r"(\d|(?:\\pi|[a-z])(?![A-Za-z]))"  # \frac12x is a half of x
# Applied in this order.
_SPELLINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), spelling)
    for pattern, spelling in (
        (r"\\(?:left|right)(?![A-Za-z])\s*(?:\.(?!\d))?", ""),
        (r"(?<=\d)(?:,\\!\s*|\{,\}\s*|\\,)(?=\d{3}(?!\d))", ""),
        (r"(?<!\\)\\[,;:! ]|(?<!\\)~", " "),
        (r"\\([%#&])", r"\1"),
        (r" !=", r"\\ne "),  # n!=6 is a factorial
        (r"(?<!\\)\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}"),
        (r"\\operatorname\*?\s*\{([A-Za-z]+)\}", r"\\\1 "),
        (r"\\math(?:rm|bf|it|sf|normal)\s*\{([A-Za-z])\}(?!\s*$)|\\math(?:rm|it)\s*\{([ei])\}", r"\1\2"),
        (r",?\s*" + _TEXT + r"\s*(?:and|or|,)\s*\}\s*", ", "),
        (r",?\s+(?:and|or)\s+", ", "),
        (_TEXT, r"\\text{"),
        (r"\\frac\s*" + _ARGUMENT + r"\s*" + _LAST_ARGUMENT, r"\\frac{\1}{\2}"),
        (r"\\frac\s*" + _ARGUMENT + r"\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*" + _ARGUMENT, r"\1{\2}"),
        (r"(?<![A-Za-z\\])\\?sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\sqrt\s+(\d+)", r"\\sqrt{\1}"),
        (r"\\sqrt\s*(\d|[a-z])", r"\\sqrt{\1}"),
        (r"\\overline\s*(\d)", r"\\overline{\1}"),
        (r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])", r"\\infty "),
        (r"\^\s*(?:\{\s*(?:\\circ|°)\s*\}|\\circ(?![A-Za-z])|°)", "°"),
        (r"\*\*", "^"),
        (r"\*", r"\\cdot "),
        (r"\^\s*\(([^()]*)\)", r"^{\1}"),
        (r"([\^_])\s*(-?\d+|[A-Za-z]|\\[a-z]+)", r"\1{\2}"),
        (r"\+\s*\\infty", r"\\infty"),
        (r"\\begin\{[bB]?(?:small)?matrix\}", r"\\begin{pmatrix}"),
        (r"\\end\{[bB]?(?:small)?matrix\}", r"\\end{pmatrix}"),
        (r"[(\[]\s*\\begin\{(?:array\}\s*\{[clr| ]*|pmatrix)\}", r"\\begin{pmatrix}"),
        (r"\\end\{(?:array|pmatrix)\}\s*[)\]]", r"\\end{pmatrix}"),
        (r" ?([+\-=();\[\]{}/^_<>|°]) ?", r"\1"),
        (r" ,", ","),
        (r"(?<=[\d})\]]) (?=\\[A-Za-z])", ""),
        (r"\s+", " "),
    )
)
_DECIMAL = r"(?:\d+(?:\.\d*)?|\.\d+)"
_PLAIN = re.compile(rf"[+-]?{_DECIMAL}")
_GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_RATIO = re.compile(rf"([+-]?)(?:\\frac\{{([+-]?{_DECIMAL})\}}\{{([+-]?{_DECIMAL})\}}|({_DECIMAL})/({_DECIMAL}))")
_MIXED = re.compile(r"([+-]?\d+)(?: ?\\frac\{(\d+)\}\{(\d+)\}| (\d+)/(\d+))")
_POWER = re.compile(rf"(?:([+-]?{_DECIMAL})(?:\\cdot ?|[eE](?=[+-]?\d))|([+-]?))(?:10\^\{{([+-]?\d+)\}}|([+-]?\d+))")
_REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*)\\overline\{(\d+)\}")
_MULTIPLIED = re.compile(rf"(.+) ({'|'.join(FACTORS)})")
_BASED = re.compile(
    r"(-?[0-9A-Z]+)(?:_\{(?:\\text\{(?:base)?)? ?(\d+)\}?\}| ?\(?(?:base) ?(\d+)\)?)", re.IGNORECASE | re.ASCII
)


@lru_cache(maxsize=4096)
def tidy(text: str) -> str:
    """`text` in the one spelling: no $, no \\left, no spacing commands, fractions and powers with all their braces."""
    text = " ".join(text[:LONGEST].split())
    if _PLAIN.fullmatch(text):
        return text
    text = text.replace("\\$", MONEY)
    if text.count("$") % 2:
        text = re.sub(r"\$(?=\s*-?[\d.])", MONEY, text, count=1)
    text = text.replace("$", "")
    text = re.sub(r"^(?:\\[(\[]|[*`\"' ])+|(?:\\[)\]!]|[\\*`\"' .,;:~])+$", "", text)
    text = _SYMBOL.sub(lambda found: _SYMBOLS[found[0]], text)
    text = _COMMAND.sub(lambda found: _COMMANDS[found[1]], text)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    return text.strip()


def compact(text: str) -> str:
    """A tidy text without the spaces that mean nothing; one between two digits means something."""
    return re.sub(r"(?<!\d) | (?!\d)", "", text)


@lru_cache(maxsize=4096)
def number_of(text: str) -> Fraction | None:
    """The exact value of a tidy numeral: decimal, repeating, grouped, fraction, mixed, power of ten, `3 million`."""
    if len(text) > 2 * _LARGEST_EXPONENT:
        return None
    if _PLAIN.fullmatch(text):
        return Fraction(_padded(text))
    if _GROUPED.fullmatch(text):
        return Fraction(_padded(text.replace(",", "")))
    if found := _RATIO.fullmatch(text):
        below = Fraction(_padded(found[3] or found[5]))
        above = Fraction(_padded(found[2] or found[4]))
        return (-above if found[1] == "-" else above) / below if below else None
    if found := _MIXED.fullmatch(text):
        above, below = Fraction(found[2] or found[4]), Fraction(found[3] or found[5])
        if above < below:
            whole = Fraction(found[1])
            return whole - above / below if found[1].startswith("-") else whole + above / below
    if found := _POWER.fullmatch(text):
        return _power_of_ten(found)
    if found := _REPEATING.fullmatch(text):
        return _repeating(found)
    if (found := _MULTIPLIED.fullmatch(text)) and (number := number_of(found[1])) is not None:
        return number * FACTORS[found[2]]
    return None


def based_numeral(text: str) -> tuple[str, int] | None:
    """The digits and the base of a tidy `52_{8}` or `52 base 8`; the base is written in tens."""
    found = _BASED.fullmatch(text)
    if not found or len(text) > _LARGEST_EXPONENT:
        return None
    digits, base = found[1].upper(), found[2] or found[3]
    is_numeral = re.search(r"\d", digits) and len(base) < 3 and all(int(d, 36) < int(base) for d in digits.strip("-"))
    return (digits, int(base)) if is_numeral else None


@lru_cache(maxsize=4096)  # a text that runs in circles states the same claim thousands of times
def words_of(text: str) -> str:
    """What a reader sees of LaTeX text: wrappers, math marks and escapes gone, white space single."""
    if "\\" in text or "{" in text:
        for _ in range(4):
            text, count = re.subn(_TEXT + r"([^{}]*)\}", r"\1", text)
            if not count:
                break
        text = re.sub(r"(?<=\d)(?:,\\!|\{,\}|\\,)\s*(?=\d{3})", ",", text)
        text = re.sub(r"\\([%$&#_{}])", r"\1", re.sub(r"\\[,;:! ]", " ", text))
        text = re.sub(r"^\s*\\[(\[]|\\[)\]]\s*$", "", text)
    text = re.sub(r"^\s*\$+([^$]*)\$+\s*$", r"\1", text)
    return " ".join(text.replace("**", "").replace("__", "").replace("~", " ").split())


def _padded(decimal: str) -> str:
    """`5.` as `5.0`; Fraction reads `.5` as it stands."""
    return decimal + "0" if decimal.endswith(".") else decimal


def _power_of_ten(found: re.Match[str]) -> Fraction | None:
    factor, sign, power, exponent = found.groups()
    if (power is None) == (factor is None or "\\cdot" in found[0]):
        return None  # `5e10^{3}`, `3\cdot 4`, and a bare sign: not of the form
    scale = int(power or exponent)
    if abs(scale) > _LARGEST_EXPONENT:
        return None
    value = Fraction(_padded(factor)) if factor else Fraction(-1 if sign == "-" else 1)
    return value * Fraction(10) ** scale


def _repeating(found: re.Match[str]) -> Fraction:
    """`0.1\\overline{6}`: a sixth."""
    sign, whole, once, again = found.groups()
    above = int(whole + once + again) - int(whole + once or "0")
    return Fraction(-above if sign == "-" else above, int("9" * len(again) + "0" * len(once)))
