"""Redaction: secrets go wherever they stand, and everything else stays as it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_app.durability.serializer import JsonSerializer
from agent_app.errors import ConfigurationInvalid
from agent_app.operations.redaction import REDACTED, Redaction
from agent_app.settings import Settings, read_settings

ALPHANUMERIC = "Ab3" + "dEf9Gh2Jk" * 12
KEYS = [
    "sk-" + "proj-" + ALPHANUMERIC[:40],
    "sk-" + "ant-api03-" + ALPHANUMERIC[:40],
    "AI" + "za" + ALPHANUMERIC[:35],
    "ya29" + "." + ALPHANUMERIC[:30],
    "AK" + "IA" + "Q3EXAMPLE7ABCDEF",
    "gh" + "p_" + ALPHANUMERIC[:36],
    "github" + "_pat_" + ALPHANUMERIC[:40],
    "tvly" + "-dev-" + ALPHANUMERIC[:24],
    "xox" + "b-" + "1234567890-" + ALPHANUMERIC[:20],
    "sk_" + "live_" + ALPHANUMERIC[:24],
    "hf" + "_" + ALPHANUMERIC[:34],
    "gsk" + "_" + ALPHANUMERIC[:40],
    "eyJ" + ALPHANUMERIC[:20] + ".eyJ" + ALPHANUMERIC[:30] + "." + ALPHANUMERIC[:40],
    "-----BEGIN " + "PRIVATE KEY-----\nMIIE" + ALPHANUMERIC + "\n-----END PRIVATE KEY-----",
]
CONTEXTS = [
    "{}",
    "the key is {}, do not tell",
    "curl -H 'X-Key: {}' https://example.org",
    "line\n{}\n",
    '{{"deep": [{{"text": "{}"}}]}}',
]
FORMS = [
    "Bearer {}",
    "Authorization: Basic {}",
    "'authorization': '{}'",
    "authorization: Token {}",
    "postgresql://ann:{}@db:5432/agents",
    "https://ann:{}@example.org/path?x=1",
    "PASSWORD={}",
    "export MY_API_KEY='{}'",
    "https://example.org/?api_key={}&page=2",
    "cut off: {{'password': '{}', 'user",
    'cut off: {{\\"secret_key\\": \\"{}\\", \\"us',
    "Cookie: session={}; theme=dark",
]
NAMES = [
    "password",
    "db_password",
    "PASSWORD",
    "userPassword",
    "secret",
    "client_secret",
    "clientSecret",
    "token",
    "access_token",
    "refreshToken",
    "api_key",
    "apiKey",
    "APIKey",
    "x-api-key",
    "OPENAI_API_KEY",
    "private_key",
    "Authorization",
    "Cookie",
    "set-cookie",
    "credentials",
    "auth",
]
WORDS = st.text("abcdefgh ijklmnop.,!?äßé漢字🙂\n\t'()-", max_size=60)
"""Text without a sign that a secret needs: no digits, no colon, no slash, no equals."""
COUNTS = ["input_tokens", "max_tokens", "token_count", "tokens"]
PLAIN_NAMES = st.sampled_from(
    [
        *COUNTS,
        "name",
        "tokenizer",
        "secretary",
        "key",
        "author",
        "tool_call_id",
        "$checkpoint",
        "url",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PLAIN_NAMES, inner, max_size=4),
    max_leaves=12,
)
SECRET = st.text("ABCDEFGHJKMNPQRSTUVWXYZ23456789", min_size=20, max_size=30).map("Zq7".__add__)


def redact(value: Any, *patterns: str) -> tuple[Any, int]:
    """Return the value without secrets, and how many there were."""
    redaction = Redaction(patterns)
    return redaction.redact(value), redaction.count


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("key", KEYS, ids=lambda key: key[:12])
def test_known_key_goes_wherever_it_stands(key: str, context: str) -> None:
    """A key of a known form is replaced, and the text around it stays."""
    planted = json.dumps(key)[1:-1] if context.startswith("{{") else key
    redacted, count = redact([{"text": context.format(planted)}])
    assert redacted == [{"text": context.format(REDACTED)}]
    assert count == 1


def test_private_key_that_is_cut_off_goes() -> None:
    """What follows the first line of a private key is the key, up to the end of the text."""
    text = "see: -----BEGIN " + "RSA PRIVATE KEY-----\nMIIE" + ALPHANUMERIC
    assert redact(text) == (f"see: {REDACTED}", 1)


def test_whole_value_of_a_named_text_goes() -> None:
    """A value with a known key in its middle leaves nothing of itself."""
    text = f"cut off: {{'password': 'hunter2 {KEYS[0]} it\\'s me', 'user"
    assert redact(text) == (f"cut off: {{'password': '{REDACTED}', 'user", 1)


@given(secret=SECRET, form=st.sampled_from(FORMS), before=WORDS, after=WORDS)
def test_secret_in_a_known_form_goes(secret: str, form: str, before: str, after: str) -> None:
    """Headers, URLs and assignments lose what is secret in them, and nothing else."""
    if form.startswith("Cookie"):  # the rest of a cookie's line is the cookie
        form, after = "Cookie: {}", "\n" + after
        secret = f"session={secret}"
    text = f"{before} {form.format(secret)} {after}".replace(f"{secret} \n", f"{secret}\n")
    redacted, count = redact(text)
    assert redacted == text.replace(secret, REDACTED)
    assert count == 1


@given(secret=SECRET, name=st.sampled_from(NAMES), around=PLAIN, rest=PLAIN)
def test_named_field_loses_its_value(secret: str, name: str, around: Any, rest: Any) -> None:
    """What a field's name calls secret is replaced at any depth, in JSON that is text too."""
    for planted in (secret, [secret, {"inner": secret}]):
        inner = {"before": around, name: planted, "rest": rest}
        value = {
            "args": json.dumps(inner),
            "list": [inner],
            "text": json.dumps([json.dumps(inner)]),
        }
        redacted, count = redact(value)
        assert secret not in json.dumps(redacted)
        assert count == 3 * (1 if planted is secret else 2)
        assert redacted["list"][0]["before"] == around
        assert redacted["list"][0]["rest"] == rest
        assert json.loads(redacted["args"])["rest"] == rest


@given(PLAIN)
def test_what_holds_no_secret_stays(value: Any) -> None:
    """Without a secret nothing changes, not even the blanks of JSON that is text."""
    nested = [value, json.dumps(value), json.dumps([json.dumps(value, indent=1)])]
    assert redact(nested) == (nested, 0)


@given(secret=SECRET, name=st.sampled_from(NAMES), form=st.sampled_from(FORMS))
def test_nothing_is_redacted_twice(secret: str, name: str, form: str) -> None:
    """What was redacted stays as it is when it is redacted again."""
    once, _ = redact({name: secret, "text": form.format(secret), "all": json.dumps({name: secret})})
    assert redact(once) == (once, 0)


@pytest.mark.parametrize(
    "value",
    [
        {"input_tokens": 5, "output_tokens": 7, "token_count": 3, "token": 4},
        {"usage": {"details": {"reasoning_tokens": 9}}},
        {"logprobs": [{"token": "Hello", "logprob": -0.1}]},
        {"secret": None, "password": "", "cookie": True},
        "Basic information on bearer instruments, and the secret of the token: it is none.",
        "https://example.org:8080/a@b?page=2 and ann@example.org",
        "task-based, disk-shaped, risk-averse-and-very-long-hyphenated-text",
        "sk-learn-and-other-hyphenated-words-are-no-keys",
        {"$checkpoint": "fetch call_3Xa 0123456789ab", "value": {"tool_call_id": "call_3Xa"}},
        "[not JSON, just brackets",
        "[" * 100_000,
        {"$float": "nan"},
        {"$text": "\u00e9 is not escaped"},
    ],
)
def test_innocent_value_stays(value: Any) -> None:
    """Counts of tokens, ordinary words, addresses and identities are no secrets."""
    assert redact(value) == (value, 0)


def test_header_in_a_list_of_pairs_goes() -> None:
    """A name and its value that stand beside each other are a field as well."""
    redacted, count = redact({"$pairs": [["password", 1234], ["user", "ann"]]})
    assert (redacted, count) == ({"$pairs": [["password", REDACTED], ["user", "ann"]]}, 1)
    redacted, count = redact([{"name": "X-Api-Key", "value": "short"}, {"key": "a", "value": "b"}])
    assert redacted == [{"name": "X-Api-Key", "value": REDACTED}, {"key": "a", "value": "b"}]
    assert count == 1


def test_secret_key_of_an_object_goes() -> None:
    """A key of an object is text too; two that become equal stay apart."""
    redacted, count = redact({KEYS[0]: 1, KEYS[1]: 2, "plain": 3})
    first, second, third = redacted
    assert redacted == {first: 1, second: 2, third: 3}
    assert (first, third, count) == (REDACTED, "plain", 2)


def test_tags_of_others_hide_nothing() -> None:
    """What only looks like a value of our serializer's is redacted like anything else."""
    for value in ({"$float": KEYS[0]}, {"$text": "é " + KEYS[0]}, {"$" + KEYS[0]: 1}):
        assert KEYS[0] not in json.dumps(redact({"a": value, "credentials": value})[0])
    hidden, count = redact({"credentials": {KEYS[0]: 1}})
    assert (hidden, count) == ({"credentials": {REDACTED: REDACTED}}, 2)


@given(secret=SECRET, odd=st.sampled_from(["\0", "\ud800", "\udfff\0"]))
def test_tagged_value_stays_readable(secret: str, odd: str) -> None:
    """Text that Postgres cannot hold is redacted under its tag, and is decoded afterwards."""
    serializer = JsonSerializer()
    value: dict[str, Any] = {
        "a": f"{odd}PASSWORD={secret}{odd} end",
        "password": f"{odd}{secret}",
        "b": odd,
    }
    value |= {"credentials": {"x": float("nan")}}
    redacted, count = redact(json.loads(serializer.serialize(value)))
    decoded = serializer.deserialize(json.dumps(redacted))
    assert secret not in repr(decoded)
    assert (decoded["password"], decoded["b"], count) == (REDACTED, odd, 3)
    assert decoded["a"].endswith("end")


def test_own_patterns_are_taken_too() -> None:
    """A pattern of the setting replaces its match, or only its group `secret`."""
    text = "customer acme-12345678, card no. 4711"
    assert redact(text, r"acme-\d{8}", r"card no\. (?P<secret>\d+)") == (
        f"customer {REDACTED}, card no. {REDACTED}",
        2,
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('["ok", "("]', "pattern 2 is no regular expression: missing )"),
        ('["x*"]', "pattern 1 matches the empty text"),
        ('["a{99999999999999999999}"]', "pattern 1 is no regular expression"),
        ("acme", "it must be JSON"),
        ('"acme"', "valid tuple"),
        ("[1]", "valid string"),
    ],
)
def test_bad_pattern_is_refused(value: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that holds no list of regular expressions is named, with the pattern's number."""
    monkeypatch.setenv("AGENT_APP_REDACT", value)
    with pytest.raises(ConfigurationInvalid, match="AGENT_APP_REDACT") as caught:
        read_settings()
    assert reason in str(caught.value)


def test_patterns_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is a JSON list."""
    monkeypatch.setenv("AGENT_APP_REDACT", r'["acme-\\d+", "b"]')
    assert Settings(_env_file=None).redact == (r"acme-\d+", "b")
