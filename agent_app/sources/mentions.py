"""Numbers and dates in a text, and the values that they can be read as."""

# ruff: noqa: RUF001, SIM905 - signs that look alike; words in a line are easier to read

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

Value = tuple[str, str]
"""What is meant (`number`, `percent`, `ordinal`, `decade`, `time`, `version`, `date`), and which,
in one spelling. A date is `year-month-day`, with `*` for what is not said."""

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SMALL = {word: n for n, word in enumerate(_ONES)} | {w: 20 + 10 * n for n, w in enumerate(_TENS)}
_BIG = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "lakh": 10**5,
    "million": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "trillion": 10**12,
}
_SHORT = {"k": 10**3, "m": 10**6, "mn": 10**6, "b": 10**9, "bn": 10**9, "t": 10**12, "tn": 10**12}
_NTH = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
).split()
_ORDINALS = {word: n for n, word in enumerate(_NTH, 1)} | {
    word[:-1] + "ieth": 20 + 10 * n for n, word in enumerate(_TENS)
}
_PARTS = {"halves": 2, "half": 2, "thirds": 3, "quarters": 4} | {
    f"{word}s": n for n, word in enumerate(_NTH[3:12], 4)
}
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()


def _any(words: Sequence[str] | dict[str, int]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|"
    r"Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)(?![a-z])\.?"
)
_DIGITS = (
    r"\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)(?:\.\d+)?"  # 1,000.5 and 1,00,000
    r"|\d{1,3}(?:[ ']\d{3})+(?!\d)(?:[.,]\d+)?"  # 1 000,5
    r"|\d{1,3}(?:\.\d{3})+,\d+"  # 1.000,5
    r"|\d+\.\d+|\d+,\d{1,2}(?![\d,])|\d+|(?<![\w.)\]])\.\d+"
)
_PERCENT = r"[ -]?(?:%|(?i:per ?cent(?:age points?)?|pct)\b)"
_SIGN = r"(?:(?<![\w)])-|\b(?:minus|negative) )?"
_EXPONENT = r"(?:\^-?\d{1,2}|[⁻⁰¹²³⁴-⁹]{1,3})"
_POWER = rf"(?: ?[x×*·] ?10{_EXPONENT}|(?<=\b10){_EXPONENT}|[eE][+-]?\d{{1,2}}\b)?"
_SCALE = rf"(?:[ -]?(?i:{_any(_BIG)})s?\b| ?(?:bn|mn|tn)\b|[kKmMBT]\b)?"
_FIGURE = re.compile(
    rf"(?P<sign>-|minus |negative )?(?P<digits>{_DIGITS})(?P<power>{_POWER})"
    rf"(?P<scale>{_SCALE})(?P<percent>{_PERCENT})?"
)
_COUNT = rf"(?:{_any(_SMALL)})(?:[ -](?:and )?(?:{_any(_SMALL | _BIG)}))*|an? (?:{_any(_BIG)})"
_KINDS = {
    "iso": r"\b\d{4}(?P<dash>[-/])\d{1,2}(?P=dash)\d{1,2}\b",
    "numeric": r"\b\d{1,2}(?P<dot>[./])\d{1,2}(?P=dot)\d{4}\b",
    "named": (
        rf"\b{_DAY}(?: of)? {_MONTH}(?:,? \d{{4}}\b)?|\b{_MONTH} {_DAY}\b(?:,? \d{{4}}\b)?"
        rf"|\b{_MONTH},? \d{{4}}\b"
    ),
    "time": r"(?<![\d.:])\d{1,2}:\d{2}(?::\d{2})?(?![\d:])",
    "version": r"(?<![\w.])(?:v\d+(?:\.\d+)*|\d+(?:\.\d+){2,})(?![\d,])",
    "decade": r"(?<![\w.,])\d{3}0'?s\b",
    "years": r"(?<![\w.,-])[12]\d{3}-\d{2}(?![\d-])",
    "fraction": r"(?<![\w.,/])(?:\d+ )?\d{1,9}[/⁄]\d{1,9}(?![\w/])|(?<![\w.,])\d*[¼-¾⅐-⅞]",
    "nth": r"(?<![\w.,])\d+(?:st|nd|rd|th)\b",
    "figure": (
        rf"{_SIGN}(?<![A-Za-zÀ-ž])(?<!\d)(?<!\d[.,])(?:{_DIGITS}){_POWER}{_SCALE}(?:{_PERCENT})?"
    ),
    "parts": rf"(?i:\b(?:{_any(_SMALL)})[ -](?:{_any(_PARTS)})\b)",
    "ordinal": rf"(?i:\b(?:(?:{_any(_TENS)})[ -])?(?:{_any(_ORDINALS)})\b)",
    "words": rf"(?i:\b(?:minus |negative )?(?:{_COUNT})\b(?:{_PERCENT})?)",
}
_MENTION = re.compile("|".join(f"(?P<{k}>{p})" for k, p in _KINDS.items()))
_CITATION = re.compile(r"\[\d{1,3}(?:, ?\d{1,3})*\]")
_RANGE = re.compile(r" ?(?:-|to|and|or|until|through) ?")
_ALIKE = str.maketrans("‐‑‒–—−\u00a0\u202f\u2009\u2007\n’", "-" * 6 + " " * 5 + "'")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


@dataclass(frozen=True)
class Mention:
    """A number or date in a text, and what it can be read as."""

    start: int
    stop: int
    values: frozenset[Value]
    scale: int = 1
    """What a word such as `million` multiplied it with."""


def find_mentions(text: str) -> list[Mention]:
    """Return the numbers and dates of a text, in order."""
    # One sign for one: what is found stands at the same place in the text itself.
    plain = _CITATION.sub(lambda found: " " * len(found[0]), text.translate(_ALIKE))
    mentions: list[Mention] = []
    for found in _MENTION.finditer(plain):
        mentions += _read(found)
    for at in range(len(mentions) - 1, 0, -1):
        between = plain[mentions[at - 1].stop : mentions[at].start]
        if _RANGE.fullmatch(between):
            mentions[at - 1] = _as_range(mentions[at - 1], mentions[at])
    return mentions


def _as_range(first: Mention, last: Mention) -> Mention:
    """Return the first number of a range, which may be meant in the unit of the last one."""
    kinds = {kind for kind, _ in last.values} & {"number", "percent"}
    amounts = {amount for kind, amount in first.values if kind == "number"}
    scaled = {str(Fraction(a) * last.scale) for a in amounts} if last.scale > 1 else set()
    more = {(kind, amount) for kind in kinds for amount in amounts | scaled}
    return Mention(first.start, first.stop, first.values | more, first.scale)


def _read(found: re.Match[str]) -> list[Mention]:
    kind, text, start = found.lastgroup or "", found[0], found.start()
    if kind == "years":  # 2019-20, or a month of 2019
        first = Mention(start, start + 4, frozenset({("number", text[:4])}))
        year, month = text[:2] + text[5:], text[5:].lstrip("0")
        values = {("number", year), ("number", exact(text[5:])), ("date", f"{text[:4]}-{month}-*")}
        return [first, Mention(start + 5, found.end(), frozenset(values))]
    if kind == "figure":
        return [_read_figure(found)]
    if kind in ("words", "parts", "ordinal"):
        return [Mention(start, found.end(), frozenset({_read_words(kind, text.lower())}))]
    return [Mention(start, found.end(), frozenset(_READERS[kind](text)))]


def _read_figure(found: re.Match[str]) -> Mention:
    parts = _FIGURE.fullmatch(found[0])
    assert parts is not None
    scale = _scale(parts["scale"].strip(" -"))
    power = parts["power"].translate(_SUPERSCRIPTS)
    exponent = int(re.sub(r"^(?:[eE]| ?[x×*·] ?10)?\^?", "", power) or 0)
    if power and parts.start("power") == parts.end("digits") and power[0] in "^-0123456789":
        exponent -= 1  # 10⁶: the figure is the base
    kind = "percent" if parts["percent"] else "number"
    sign = "-" if parts["sign"] else ""
    amounts = {
        exact(sign + digits, Fraction(10) ** exponent * factor)
        for digits in _readings(parts["digits"])
        for factor in ({1, scale} if parts["scale"] == "m" else {scale})  # million, or metres
    }
    values = frozenset((kind, amount) for amount in amounts)
    return Mention(found.start(), found.end(), values, scale)


def _scale(word: str) -> int:
    word = word.lower()
    return _BIG.get(word.rstrip("s")) or _SHORT.get(word) or 1


def _readings(digits: str) -> set[str]:
    """Return the figure with a point for decimals; two of them for 1.500, which may be 1500."""
    if re.fullmatch(r"\d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?", digits):
        return {re.sub("[ ']", "", digits).replace(",", ".")}
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+", digits):
        return {digits.replace(".", "").replace(",", ".")}
    if re.fullmatch(r"\d+,\d{1,2}", digits):
        return {digits.replace(",", ".")}
    plain = digits.replace(",", "")
    return (
        {plain, plain.replace(".", "")} if re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", plain) else {plain}
    )


def exact(digits: str, factor: Fraction = Fraction(1)) -> str:
    """Return the number in its one spelling; what is longer than any number stays as it is."""
    return str(Fraction(digits) * factor) if len(digits) <= 60 else f"{digits}*{factor}"


def _read_words(kind: str, text: str) -> Value:
    words = re.split("[ -]", text)
    if kind == "parts":
        return "number", str(Fraction(_SMALL[words[0]], _PARTS[words[-1]]))
    if kind == "ordinal":
        return "ordinal", str(_ORDINALS[words[-1]] + sum(_SMALL[word] for word in words[:-1]))
    total = group = 0
    for word in words:
        if word in _SMALL:
            group += _SMALL[word]
        elif word in ("a", "an"):
            group = 1
        elif _BIG.get(word, 0) > 100:
            total, group = total + group * _BIG[word], 0
        elif word in _BIG:
            group *= _BIG[word]
    sign = "-" if words[0] in ("minus", "negative") else ""
    is_percent = words[-1] in ("%", "cent", "percent", "pct", "points", "point")
    return "percent" if is_percent else "number", f"{sign}{total + group}"


def _read_iso(text: str) -> set[Value]:
    year, month, day = re.split("[-/]", text)
    return _date(year, int(month), day)


def _read_numeric(text: str) -> set[Value]:
    """Read 03/04/2024 as the third of April and the fourth of March."""
    first, second, year = re.split("[./]", text)
    return _date(year, int(second), first) | _date(year, int(first), second)


def _read_named(text: str) -> set[Value]:
    month = re.search("[A-Za-z]{3}", re.sub(r"(?:st|nd|rd|th|of)\b", "", text))
    year = re.search(r"\d{4}", text)
    day = re.search(r"(?<!\d)\d{1,2}(?!\d)", text)
    assert month is not None
    number = _MONTHS.index(month[0].lower()) + 1
    return _date(year[0] if year else "*", number, day[0] if day else "*")


def _date(year: str, month: int, day: str) -> set[Value]:
    if not 1 <= month <= 12:
        return set()
    return {("date", f"{year}-{month}-{day if day == '*' else int(day)}")}


def _read_fraction(text: str) -> set[Value]:
    whole, parts = 0, unicodedata.normalize("NFKC", text)
    if found := re.fullmatch(r"(\d*)([¼-¾⅐-⅞])", text):
        whole, parts = int(found[1] or 0), unicodedata.normalize("NFKC", found[2])
    elif " " in parts:
        whole, parts = int(parts.split()[0]), parts.split()[1]
    above, below = parts.replace("⁄", "/").split("/")
    if int(below) == 0:
        return {("fraction", text)}
    return {("number", str(whole + Fraction(int(above), int(below))))}


def _read_version(text: str) -> set[Value]:
    number = text.lstrip("v")
    values = {("version", number)}
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+", number):
        values.add(("number", number.replace(".", "")))
    if number.count(".") < 2:
        values.add(("number", exact(number)))
    return values


_READERS: dict[str, Callable[[str], set[Value]]] = {
    "iso": _read_iso,
    "numeric": _read_numeric,
    "named": _read_named,
    "time": lambda text: {("time", text.lstrip("0"))},
    "version": _read_version,
    "decade": lambda text: {("decade", text[:4])},
    "fraction": _read_fraction,
    "nth": lambda text: {("ordinal", str(int(text[:-2])))},
}
