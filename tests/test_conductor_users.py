"""Users and API tokens."""

from datetime import timedelta

import pytest

from provisioner.access import Principal, Who
from provisioner.conductor.users import Users, token_id
from provisioner.errors import Conflict, Denied, Invalid, NotFound
from provisioner.model.access import TokenPurpose, User
from tests.parts import OPERATOR, PASSWORD


@pytest.fixture
def users(parts):
    return Users(parts.ledger, parts.tokens)


async def test_a_user_who_was_made_can_log_in(parts, users):
    await users.create("ada", "long enough", "admin", OPERATOR)
    secret = await parts.tokens.log_in("ada", "long enough", TokenPurpose.API, "")
    assert parts.tokens.recognise(secret) == Principal(Who.USER, "ada", "admin")


async def test_every_wrong_field_of_a_user_is_named(users):
    with pytest.raises(Invalid) as caught:
        await users.create("No Name", "long enough", "king", OPERATOR)
    assert [fault.path for fault in caught.value.fields] == ["name", "role"]


async def test_a_name_is_taken_once(users):
    with pytest.raises(Conflict):
        await users.create("admin", "long enough", "admin", OPERATOR)


async def test_another_password_ends_what_was_logged_in(parts, users):
    secret = await parts.secret()
    with pytest.raises(Denied, match="current password"):
        await users.set_password("admin", "another one", "wrong", OPERATOR)
    assert parts.tokens.recognise(secret).name == "admin"
    await users.set_password("admin", "another one", PASSWORD, OPERATOR)
    assert parts.tokens.recognise(secret).who is Who.NOBODY
    await parts.tokens.log_in("admin", "another one", TokenPurpose.API, "")


async def test_the_last_administrator_stays(parts, users):
    with pytest.raises(Conflict) as caught:
        await users.delete("admin", OPERATOR)
    assert caught.value.code == "last-admin"
    await users.create("ada", "long enough", "admin", OPERATOR)
    secret = await parts.secret(subject="ada")
    await users.delete("ada", OPERATOR)
    assert parts.ledger.get(User, "ada") is None and parts.tokens.recognise(secret).who is Who.NOBODY


async def test_who_is_not_there_is_named_with_who_is(users):
    with pytest.raises(NotFound, match="unknown user 'ada'; there is: admin"):
        await users.delete("ada", OPERATOR)


async def test_a_token_works_until_it_is_revoked_or_ends(parts, users):
    ends = parts.clock() + timedelta(hours=1)
    token, secret = await users.create_token("admin", "nightly", ends, OPERATOR)
    assert parts.tokens.recognise(secret).name == "admin"
    assert users.token(token_id(token)).description == "nightly"
    await users.revoke(token_id(token), OPERATOR)
    assert parts.tokens.recognise(secret).who is Who.NOBODY
    _, other = await users.create_token("admin", "", ends, OPERATOR)
    parts.clock.pass_seconds(3600)
    assert parts.tokens.recognise(other).who is Who.NOBODY
    with pytest.raises(Invalid, match="is past"):
        await users.create_token("admin", "", ends, OPERATOR)


async def test_tickets_of_booting_machines_are_no_tokens_to_look_after(parts, users):
    await parts.ticket()
    await parts.secret(TokenPurpose.SESSION)
    assert [token.purpose for token in users.tokens()] == [TokenPurpose.SESSION]
