"""Secret values hidden in text that was made with them."""

from base64 import b64encode

import pytest

from agent.render import Renderer
from provisioner.masking import SHORTEST, Mask
from provisioner.params import REDACTED

AWKWARD = 'it\'s "so"\tsecret\nwith ümläut\\'


def test_a_secret_is_hidden_wherever_it_is() -> None:
    assert Mask(["hush-hush"]).text("a=hush-hush; b='hush-hush'") == f"a={REDACTED}; b='{REDACTED}'"


FORMS = ["s", "s | quote", "s | tojson", "s | tojson | tojson", "s | tojson | quote", "s | tojson | tojson | quote"]
FORMS += ["s | b64encode", "s | urlencode", "s | escape", "{'k': [s]} | tojson"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", ["hush-hush", AWKWARD, "$(x) `y` 'z'"], ids=["simple", "awkward", "shell"])
def test_a_secret_is_hidden_in_every_form_that_filters_give_it(secret: str, form: str) -> None:
    text = Renderer().render("t", {"t": f"export X={{{{ {form} }}}} # end"}, {"s": secret})
    hidden = Mask([secret]).text(text)
    assert REDACTED in hidden and hidden.startswith("export X=") and hidden.endswith(" # end")
    assert not any(part in hidden for part in ("hush", "secret", "(x)"))


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "root"])
@pytest.mark.parametrize("after", ["", "!", "!!"])
def test_a_secret_is_hidden_in_base64_of_something_longer(user: str, after: str) -> None:
    encoded = b64encode(f"{user}hush-hush-hush{after}".encode()).decode()
    hidden = Mask(["hush-hush-hush"]).text(encoded)
    # What stands for it alone is gone; a character at either end may hold a few bits of it.
    assert REDACTED in hidden and len(hidden) - len(REDACTED) <= len(encoded) - 17


def test_every_text_and_number_inside_of_a_value_is_hidden() -> None:
    mask = Mask([{"user": "operator", "pins": [123456, 3.14159], "on": True, "none": None}])
    assert mask.text("operator 123456 3.14159 True") == f"{REDACTED} {REDACTED} {REDACTED} True"


def test_each_line_of_a_key_is_hidden_though_it_is_indented() -> None:
    key = "-----BEGIN KEY-----\nAAAABBBBCCCC\nDDDDEEEE\n"
    text = Mask([key]).text("  -----BEGIN KEY-----\n  AAAABBBBCCCC\n  DDDDEEEE\n")
    assert "AAAA" not in text and "DDDD" not in text


def test_a_secret_inside_of_a_longer_one_does_not_spare_the_rest() -> None:
    assert Mask(["abcd", "abcdefgh"]).text("abcdefgh") == REDACTED


def test_what_is_too_short_is_left() -> None:
    assert Mask(["x" * (SHORTEST - 1)]).text("xxx") == "xxx"


def test_without_secrets_nothing_is_hidden() -> None:
    assert Mask([]).text("text") == "text"
