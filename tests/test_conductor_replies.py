"""Answers kept under an Idempotency-Key: for a day, through a crash, and never two at once."""

import json

import pytest

from provisioner.conductor.replies import KEPT, Replies
from provisioner.errors import Conflict, Invalid
from provisioner.model.operations import Reply
from provisioner.params import is_sealed
from provisioner.vault import Vault


async def test_an_answer_is_kept_for_a_day(parts):
    replies = Replies(parts.ledger, parts.vault)
    assert await replies.begin("k", "f") is None
    await replies.finish("k", 201, {"Location": "/x"}, b"{}")
    kept = await replies.begin("k", "f")
    assert (kept.status, kept.headers, kept.body) == (201, {"Location": "/x"}, b"{}")
    parts.clock.pass_seconds(KEPT.total_seconds())
    assert await replies.begin("k", "f") is None


async def test_an_answer_is_sealed_on_disk_and_once_its_key_is_gone_nothing_is_claimed(parts):
    replies = Replies(parts.ledger, parts.vault)
    await replies.begin("k", "f")
    await replies.finish("k", 201, {}, b'{"token": "open sesame"}')
    (kept,) = parts.ledger.all(Reply)
    assert is_sealed(json.loads(kept.body))
    with pytest.raises(Conflict, match="look what came of it") as caught:
        await Replies(parts.ledger, Vault([bytes(31) + b"1"])).begin("k", "f")
    assert caught.value.code == "idempotency-unknown"


async def test_another_request_under_the_same_key_is_refused(parts):
    replies = Replies(parts.ledger, parts.vault)
    await replies.begin("k", "f")
    with pytest.raises(Invalid) as caught:
        await replies.begin("k", "g")
    assert caught.value.code == "idempotency-mismatch"


async def test_a_request_that_is_under_way_is_not_begun_again(parts):
    replies = Replies(parts.ledger, parts.vault)
    await replies.begin("k", "f")
    with pytest.raises(Conflict) as caught:
        await replies.begin("k", "f")
    assert caught.value.code == "idempotency-busy"


async def test_of_a_request_that_a_crash_cut_off_nothing_is_claimed(parts):
    await Replies(parts.ledger, parts.vault).begin("k", "f")
    with pytest.raises(Conflict, match="look whether it was done") as caught:
        await Replies(parts.ledger, parts.vault).begin("k", "f")
    assert caught.value.code == "idempotency-unknown"


async def test_what_changed_nothing_may_be_tried_again(parts):
    replies = Replies(parts.ledger, parts.vault)
    await replies.begin("k", "f")
    await replies.forget("k")
    assert await replies.begin("k", "f") is None


async def test_old_answers_are_dropped_when_new_ones_come(parts):
    replies = Replies(parts.ledger, parts.vault)
    for key in ("a", "b"):
        await replies.begin(key, "f")
        parts.clock.pass_seconds(KEPT.total_seconds() - 1)
    await replies.begin("c", "f")
    assert [reply.key for reply in parts.ledger.all(Reply)] == ["b", "c"]
