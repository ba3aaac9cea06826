"""Secrets: given once, kept as digests, ended in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher, extract_parameters

from provisioner.access import NOBODY, Principal, Who
from provisioner.bus import Bus
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.tokens import ADMIN, Tokens, unmatched
from provisioner.errors import Denied, NotFound
from provisioner.model.access import Token, TokenPurpose, User
from provisioner.model.machines import Machine
from provisioner.store.database import Database
from provisioner.tickets import Tickets

MAC, OTHER_MAC = "52:54:00:00:00:01", "52:54:00:00:00:02"


class Site:
    """A ledger on disk whose clock is turned by hand."""

    def __init__(self, path):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.database = Database(path)
        self.database.open()
        self.database.start()
        self.ledger = Ledger(self.database, Bus(), lambda: self.now)
        self.tokens = Tokens(self.ledger, Tickets([b"key"]))

    def later(self, **time):
        self.now += timedelta(**time)

    def ticket(self, mac=MAC):
        return self.tokens.issue_ticket(mac)

    async def drop_ended(self):
        tx = self.ledger.transaction()
        self.tokens.drop_ended(tx)
        await tx.commit()

    async def redeem(self, secret):
        tx = self.ledger.transaction()
        token = self.tokens.redeem_ticket(tx, secret)
        await tx.commit()
        return token


@pytest.fixture
async def site(tmp_path):
    site = Site(tmp_path / "a.db")
    yield site
    site.tokens.close()
    await site.database.close()


async def test_the_first_administrator_gets_a_random_password_once(site):
    password = await site.tokens.ensure_admin()
    assert len(password) >= 16 and await site.tokens.ensure_admin() == ""
    secret = await site.tokens.log_in(ADMIN, password, TokenPurpose.SESSION, "10.0.0.1")
    assert str(site.tokens.recognise(secret)) == "user:admin"
    assert password not in site.ledger.read(User, ADMIN).password_hash
    site.later(hours=12)
    assert site.tokens.recognise(secret) == NOBODY


def test_a_name_that_nobody_has_takes_as_much_work_to_refuse_as_a_wrong_password():
    hasher = PasswordHasher()
    assert extract_parameters(unmatched(hasher)) == extract_parameters(hasher.hash("right"))
    assert unmatched(hasher) != unmatched(hasher)


@pytest.mark.parametrize(("name", "password"), [(ADMIN, "wrong"), ("nobody", "right")])
async def test_a_refused_login_does_not_tell_what_was_wrong(site, name, password):
    await site.tokens.ensure_admin("right")
    with pytest.raises(Denied, match="^wrong user name or password$"):
        await site.tokens.log_in(name, password, TokenPurpose.API, "10.0.0.1")
    assert list(site.ledger.all(Token)) == []


async def test_a_given_password_replaces_the_old_one(site):
    await site.tokens.ensure_admin("old")
    assert await site.tokens.ensure_admin("new") == ""
    assert await site.tokens.log_in(ADMIN, "new", TokenPurpose.API, "")


async def test_logging_out_ends_the_token(site):
    await site.tokens.ensure_admin("x")
    secret = await site.tokens.log_in(ADMIN, "x", TokenPurpose.API, "")
    await site.tokens.log_out(secret)
    assert site.tokens.recognise(secret) == NOBODY


async def test_a_used_ticket_is_good_for_two_minutes_which_using_it_does_not_lengthen(site):
    secret = site.ticket()
    assert (await site.redeem(secret)).subject == MAC
    site.later(seconds=119)
    await site.redeem(secret)
    site.later(seconds=1)
    with pytest.raises(Denied) as caught:
        await site.redeem(secret)
    assert caught.value.code == "ticket-refused"


async def test_an_unused_ticket_ends_after_half_an_hour(site):
    secret = site.ticket()
    site.later(minutes=30)
    with pytest.raises(Denied):
        await site.redeem(secret)


async def test_using_a_ticket_ends_older_ones_of_that_mac_only(site):
    old, other = site.ticket(), site.ticket(OTHER_MAC)
    site.later(seconds=1)
    new = site.ticket()
    site.later(seconds=1)
    newest = site.ticket()
    assert await site.redeem(new) and await site.redeem(other) and await site.redeem(newest)
    with pytest.raises(Denied):
        await site.redeem(old)


async def test_a_ticket_is_kept_nowhere_until_it_is_used(site):
    secret = site.ticket()
    assert list(site.ledger.all(Token)) == []
    await site.redeem(secret)
    assert [token.subject for token in site.ledger.read_all(Token)] == [MAC]


async def test_a_used_ticket_stays_used_for_as_long_as_it_could_be_good(site):
    secret = site.ticket()
    await site.redeem(secret)
    for _ in range(29):
        site.later(minutes=1)
        await site.drop_ended()
    with pytest.raises(Denied):
        await site.redeem(secret)
    site.later(minutes=31)
    await site.drop_ended()
    assert list(site.ledger.read_all(Token)) == []


async def test_a_used_ticket_stays_used_after_the_clock_was_set_back(site):
    secret = site.ticket()
    await site.redeem(secret)
    site.later(minutes=45)
    await site.drop_ended()
    site.later(minutes=-40)
    with pytest.raises(Denied):
        await site.redeem(secret)


@pytest.mark.parametrize("minutes", [-60, -10, 60])
async def test_machines_register_on_after_the_clock_was_set(site, minutes):
    await site.redeem(site.ticket())
    on_its_way = site.ticket(OTHER_MAC)
    site.later(minutes=minutes)
    assert await site.redeem(site.ticket())
    if minutes < 0:
        assert await site.redeem(on_its_way)


async def test_a_ticket_from_before_they_were_signed_still_registers_once(site):
    tx = site.ledger.transaction()
    secret = site.tokens.issue(tx, TokenPurpose.TICKET, MAC)
    await tx.commit()
    assert (await site.redeem(secret)).subject == MAC
    site.later(minutes=2)
    with pytest.raises(Denied):
        await site.redeem(secret)


async def test_a_ticket_is_not_a_login(site):
    assert site.tokens.recognise(site.ticket()) == NOBODY


async def test_a_machines_token_never_ends_but_with_its_machine(site):
    tx = site.ledger.transaction()
    tx.put(Machine(id="m1", name="m1", created_at=tx.now, updated_at=tx.now))
    secret = site.tokens.issue(tx, TokenPurpose.MACHINE, "m1")
    assert site.tokens.recognise(secret) == NOBODY
    await tx.commit()
    site.later(days=4000)
    assert site.tokens.recognise(secret).who is Who.MACHINE
    tx = site.ledger.transaction()
    tx.delete(Machine, "m1")
    await tx.commit()
    assert site.tokens.recognise(secret) == NOBODY


async def test_ended_tokens_are_forgotten(site):
    tx = site.ledger.transaction()
    site.tokens.issue(tx, TokenPurpose.SESSION, "admin")
    await tx.commit()
    site.later(hours=12)
    await site.drop_ended()
    assert list(site.ledger.read_all(Token)) == []


async def join(site, uses=1, hours=24.0):
    _, secret = await site.tokens.issue_join(hours, uses, "rack 7", Principal(Who.USER, "admin", "admin"))
    return secret


async def use(site, secret, mac):
    tx = site.ledger.transaction()
    token = site.tokens.redeem_ticket(tx, secret, mac)
    await tx.commit()
    return token


async def test_a_join_token_is_good_for_so_many_hosts(site):
    secret = await join(site, uses=2)
    assert [(await use(site, secret, mac)).uses for mac in ("a", "b")] == [1, 0]
    with pytest.raises(Denied, match="used as often as it may be"):
        await use(site, secret, "c")


async def test_a_host_whose_answer_was_lost_uses_the_join_token_again_for_a_short_while(site):
    secret = await join(site)
    await use(site, secret, "a")
    site.later(seconds=30)
    assert (await use(site, secret, "a")).uses == 0
    site.later(minutes=2)
    with pytest.raises(Denied, match="ask an operator for another join token"):
        await use(site, secret, "a")


async def test_a_join_token_ends_in_time(site):
    secret = await join(site, hours=0.5)
    assert [token.description for token in site.tokens.joins()] == ["rack 7"]
    site.later(minutes=30)
    assert site.tokens.joins() == []
    with pytest.raises(Denied):
        await use(site, secret, "a")


async def test_a_join_token_says_who_nobody_is(site):
    assert site.tokens.recognise(await join(site)) == NOBODY


async def test_a_join_token_can_be_taken_back(site):
    by = Principal(Who.USER, "admin", "admin")
    token, secret = await site.tokens.issue_join(1, 1, "", by)
    await site.tokens.end_join(token.subject, by)
    with pytest.raises(Denied):
        await use(site, secret, "a")
    with pytest.raises(NotFound, match="there is no join token"):
        await site.tokens.end_join(token.subject, by)


async def test_what_is_no_join_token_is_not_taken_back(site):
    tx = site.ledger.transaction()
    site.tokens.issue(tx, TokenPurpose.MACHINE, "a")
    await tx.commit()
    with pytest.raises(NotFound):
        await site.tokens.end_join("a", Principal(Who.USER, "admin", "admin"))
