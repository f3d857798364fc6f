"""Secrets taken out of what runs have stored, before it is given away.

A secret is found by the name of its field or by its form. What has neither stays: a password in the
middle of a sentence looks like any other word.
"""

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from agent_app.durability.serializer import CHECKPOINT, ERROR, PAIRS, TEXT

REDACTED = "[redacted]"
SECRET = "secret"
"""Group of a pattern that is replaced; without it the whole match is."""

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_SECRET_WORD = re.compile(
    "passw(or)?d|pwd|pass(phrase|code)|secrets?|credentials?|authorization|bearer|cookies?"
    "|(api|access|secret|private)key|(auth|access)token"
)
_SECRET_KEY = re.compile(
    "(api|access|private|signing|encryption|master|account|session|subscription|ssh) key"
)

_STARTS_OF_KEYS = (
    r"sk-(?=[\w-]*[A-Z0-9])[\w-]{20,}",  # OpenAI, Anthropic, OpenRouter, DeepSeek
    r"AIza[\w-]{35}",  # Google
    r"ya29\.[\w-]{20,}",
    r"GOCSPX-[\w-]{20,}",
    r"(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|AIPA)[A-Z0-9]{16}",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{36,}",  # GitHub
    r"github_pat_\w{22,}",
    r"glpat-[\w-]{20,}",  # GitLab
    r"tvly-[\w-]{16,}",  # Tavily
    r"xox[a-z]-[\w-]{10,}",  # Slack
    r"xapp-[\w-]{10,}",
    r"[srp]k_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
    r"whsec_[A-Za-z0-9+/=]{16,}",
    r"hf_[A-Za-z0-9]{30,}",  # Hugging Face
    r"gsk_[A-Za-z0-9]{20,}",  # Groq
    r"xai-[A-Za-z0-9]{20,}",
    r"pplx-[A-Za-z0-9]{20,}",  # Perplexity
    r"r8_[A-Za-z0-9]{30,}",  # Replicate
    r"pylf_v\d+_\w{20,}",  # Logfire
    r"SG\.[\w-]{16,}\.[\w-]{16,}",  # SendGrid
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[\w-]{50,}",
    r"dapi[0-9a-f]{32}",  # Databricks
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*(?:\.[\w-]*)*",  # JWT
)
_NAMES = (
    r"[aAcCpPsStT](?i:(?<=p)(?:assw(?:or)?d|wd|assphrase|rivate[_-]?key)"
    r"|(?<=s)ecret(?:[_-]?key)?|(?<=t)oken|(?<=c)(?:redentials?|ookie)"
    r"|(?<=a)(?:uthorization|(?:pi|ccess|ccount)[_-]?key))"
)
"""Ends of names. A set of first letters is found several times faster than (?i:…|…)."""
_KNOWN = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        # A name in quotation marks and its value, in text that is no JSON as a whole.
        _NAMES + r"\\*[\"']\s*[:=]\s*(?P<quote>\\*[\"'])"
        r"(?P<secret>(?:(?!(?P=quote))(?:\\.|.))+)",
        _NAMES + r"\s?=\s?(?P<quote>\\*[\"']?)(?P<secret>[^\s\"'\\&;,<>()]{4,})",
        r"(?<![A-Za-z0-9])(?:" + "|".join(_STARTS_OF_KEYS) + ")",
        r"hooks\.slack\.com/services/(?P<secret>[\w/]{20,})",
        r"-----BEGIN (?P<kind>[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----.*?"
        r"(?:-----END (?P=kind)-----|\Z)",
        r"://[^\s/:@]*:(?P<secret>[^\s/?#]+)@",  # a URL's password
        r"(?i:\bbearer)\s+(?P<secret>(?=[\w.~+/-]*[0-9])[\w.~+/-]{16,}=*)",
        r"(?i:authorization\\*[\"']?\s*[:=]\s*\\*[\"']?"
        r"(?:bearer|basic|token|digest|negotiate|apikey))\s+(?P<secret>[^\s\"'\\,]+)",
        r"(?i:\bcookie:)\s*(?P<secret>[^\s=;]+=[^\r\n]+)",
    )
)


class Redaction:
    """What is redacted, and how often something has been so far."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        """Take patterns of one's own beside those that are known."""
        self.count = 0
        self._patterns = (*_KNOWN, *map(re.compile, patterns))

    def redact(self, value: Any) -> Any:
        """Return JSON without secrets, in texts that hold JSON too; what holds none is the same."""
        if isinstance(value, str):
            return self._redact_text(value)
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        return self._redact_object(value) if isinstance(value, dict) else value

    def _redact_object(self, value: dict[str, Any]) -> dict[str, Any]:
        match value:
            case {"$float": "nan" | "inf" | "-inf"} if len(value) == 1:
                return value
            case {"$text": str(text)} if len(value) == 1:
                return {TEXT: self._redact_escaped(text)}
            case {"$pairs": list(pairs)} if len(value) == 1:
                return {PAIRS: [self._redact_pair(pair) for pair in pairs]}
        named = value.get("name", value.get("key"))  # a header, where they come as a list
        redacted: dict[str, Any] = {}
        for key, item in value.items():
            name = named if key == "value" and isinstance(named, str) else key
            is_secret = _is_secret(name, item) and "logprob" not in value  # there `token` is a word
            redacted[self._redact_key(key, redacted)] = (
                self._hide(item) if is_secret else self.redact(item)
            )
        return redacted

    def _redact_key(self, key: str, taken: dict[str, Any]) -> str:
        if key in (CHECKPOINT, ERROR):
            return key
        base = new_key = self._replace(key)
        while new_key in taken:
            new_key = f"{base} {len(taken)}"
        return new_key

    def _redact_pair(self, pair: Any) -> Any:
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str):
            hide = self._hide if _is_secret(pair[0], pair[1]) else self.redact
            return [self._redact_text(pair[0]), hide(pair[1])]
        return self.redact(pair)

    def _redact_escaped(self, text: str) -> str:
        """Redact a text with characters that Postgres cannot hold, as our serializer writes it."""
        try:
            plain = text.encode("ascii").decode("unicode_escape")
        except UnicodeError:  # it is none of ours
            return self._redact_text(text)
        redacted = self._redact_text(plain)
        is_same = redacted == plain
        return text if is_same else redacted.encode("unicode_escape").decode("ascii")

    def _hide(self, value: Any) -> Any:
        """Replace every text and number in the value of a field whose name says that it is secret.

        What our serializer tags is one value: its parts would not fit together any more.
        """
        if isinstance(value, list):
            return [self._hide(item) for item in value]
        if isinstance(value, dict) and not any(key.startswith("$") for key in value):
            hidden: dict[str, Any] = {}
            for key, item in value.items():
                hidden[self._redact_key(key, hidden)] = self._hide(item)
            return hidden
        if value in (None, "", REDACTED) or isinstance(value, bool):
            return value
        self.count += 1
        return REDACTED

    def _redact_text(self, text: str) -> str:
        if text.lstrip()[:1] in ("{", "["):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                return self._replace(text)
            before = self.count
            redacted = self.redact(value)
            return text if self.count == before else _style_of(text, value)(redacted)
        return self._replace(text)

    def _replace(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(self._replace_match, text)
        return text

    def _replace_match(self, match: re.Match[str]) -> str:
        has_group = SECRET in match.re.groupindex and match[SECRET] is not None
        start, end = match.span(SECRET if has_group else 0)
        secret = match.string[start:end]
        if not secret or secret.startswith(REDACTED):
            return match[0]
        self.count += 1
        return match.string[match.start() : start] + REDACTED + match.string[end : match.end()]


@lru_cache(maxsize=4096)
def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name[:200]))


def _is_secret(name: str, value: Any) -> bool:
    """Say whether a field's name says that its value is secret; counts of tokens are not."""
    words = _words(name)
    if words[-1:] == ("token",):
        return not isinstance(value, (int, float))
    return (
        words == ("auth",)
        or any(map(_SECRET_WORD.fullmatch, words))
        or any(_SECRET_KEY.fullmatch(" ".join(pair)) for pair in pairwise(words))
    )


def _style_of(text: str, value: Any) -> Callable[[Any], str]:
    """Return what writes JSON as the text is written, the compact form where that is none known."""
    writers = [
        json.JSONEncoder(separators=separators, ensure_ascii=is_ascii).encode
        for separators in ((",", ":"), (", ", ": "))
        for is_ascii in (False, True)
    ]
    return next((write for write in writers if write(value) == text), writers[0])
