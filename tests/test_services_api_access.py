"""Logging in and out through HTTP."""

import pytest

from tests.parts import PASSWORD, opened, serving


@pytest.fixture
async def parts(tmp_path):
    async with opened(tmp_path) as parts:
        yield parts


async def test_a_login_needs_the_right_password(parts):
    async with serving(parts.operators_app()) as client:
        said = {"username": "admin", "password": PASSWORD}
        assert (await client.post("/api/v1/login", json=said)).status == 200
        assert (await client.post("/api/v1/login", json=said | {"password": "x"})).status == 401
