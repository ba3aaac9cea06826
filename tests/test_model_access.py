"""Users and tokens survive the way to JSON and back."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from provisioner.model.access import Token, TokenPurpose, User

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        User(name="admin", password_hash="scrypt", created_at=NOW),
        Token(digest="d", purpose=TokenPurpose.JOIN, subject="hall-2", created_at=NOW, expires_at=NOW, uses=3),
    ],
)
def test_it_comes_back_from_json_as_it_was(value):
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value
