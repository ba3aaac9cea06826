"""A machine's params through HTTP."""

from provisioner.model.access import TokenPurpose
from provisioner.model.content import Param, Profile
from tests.parts import OPERATOR, operator, problem, serving

API = "/api/v1"


async def test_params_are_read_set_and_removed(parts):
    machine = await parts.ready(params={"secret": "s"})
    async with await operator(parts) as client:
        params = f"{API}/machines/{machine}/params"
        assert (await client.put(f"{params}/count", json=7)).status == 204
        assert await (await client.get(params)).json() == {"secret": "********", "count": 7}
        assert (await (await client.get(f"{params}/secret")).json()) == "********"
        await problem(await client.put(f"{params}/count", json="x"), 422)
        assert (await client.delete(f"{params}/count")).status == 204
        everything = await (await client.get(params, params={"aggregate": "true"})).json()
        assert (everything["secret"], everything["count"]) == ("********", 3)
        await problem(await client.get(f"{params}/needed"), 404)


async def test_several_params_are_set_at_once_or_none(parts):
    machine = await parts.ready(params={"colour": "red"})
    async with await operator(parts) as client:
        params = f"{API}/machines/{machine}/params"
        answer = await client.patch(params, json={"count": 5, "needed": "x", "colour": None})
        assert (answer.status, await answer.json()) == (200, {"count": 5, "needed": "x"})
        wrong = await problem(await client.patch(params, json={"count": 6, "needed": 1}), 422)
        assert [error["path"] for error in wrong["errors"]] == ["params.needed"]
        assert await (await client.get(params)).json() == {"count": 5, "needed": "x"}


async def test_a_machine_sets_its_own_params_but_not_those_of_its_power(parts):
    machine = await parts.ready(params={"power/address": "10.0.0.9"})
    async with serving(parts.operators_app(), await parts.secret(TokenPurpose.MACHINE, machine)) as client:
        params = f"{API}/machines/{machine}/params"
        assert (await client.patch(params, json={"count": 5})).status == 200
        await problem(await client.patch(params, json={"count": 6, "power/address": "10.0.0.66"}), 403)
        await problem(await client.patch(params, json={"count": 6, "power/address": None}), 403)
        await problem(await client.patch(f"{API}/machines/another/params", json={"count": 6}), 403)
        assert (await (await client.get(params)).json())["count"] == 5


async def test_why_tells_value_layer_pack_and_the_layers_below(parts):
    machine = await parts.ready(params={"colour": "red"}, profiles=("rack",))
    async with await operator(parts) as client:
        params = f"{API}/machines/{machine}/params"
        told = await (await client.get(f"{params}/colour", params={"why": "true"})).json()
        assert told == {
            "name": "colour",
            "value": "red",
            "source": "machine",
            "origin": "machine",
            "secure": False,
            "composed": False,
            "expanded": False,
            "layers": [
                {"source": "machine", "origin": "machine", "effect": "used", "value": "red"},
                {"source": "profile:rack", "origin": "pack base", "effect": "overridden", "value": "blue"},
            ],
            "error": "",
        }
        everything = await (await client.get(params, params={"why": "true"})).json()
        assert everything["colour"] == told and everything["count"]["source"] == "default"
        await problem(await client.get(f"{params}/needed", params={"why": "true"}), 404)


async def test_templates_are_shown_expanded_and_broken_ones_with_the_reason(parts):
    await parts.catalog.put(Param(name="url", expand=True, default="{{ server.url }}/{{ machine.name }}"), OPERATOR)
    await parts.catalog.put(Param(name="loop", expand=True, default='{{ param("loop") }}'), OPERATOR)
    machine = await parts.ready(name="n1")
    async with await operator(parts) as client:
        params = f"{API}/machines/{machine}/params"
        url = str(client.make_url("/n1"))
        assert await (await client.get(f"{params}/url")).json() == url
        shown = await (await client.get(params, params={"aggregate": "true"})).json()
        assert (shown["url"], shown["loop"]) == (url, '{{ param("loop") }}')
        body = await problem(await client.get(f"{params}/loop"), 409)
        assert (body["code"], body["detail"]) == (
            "param-expansion",
            "param 'loop' cannot be expanded: loop > loop: a param cannot refer to itself",
        )
        told = await (await client.get(f"{params}/loop", params={"why": "true"})).json()
        assert (told["value"], told["error"]) == ('{{ param("loop") }}', body["detail"])


async def test_a_secure_value_is_revealed_to_a_user_and_that_is_told(parts):
    machine = await parts.ready(params={"secret": "hush", "count": 5})
    async with await operator(parts) as client:
        params = f"{API}/machines/{machine}/params"
        assert await (await client.get(f"{params}/secret", params={"reveal": "true"})).json() == "hush"
        assert await (await client.get(f"{params}/count", params={"reveal": "true"})).json() == 5
        assert await parts.events("param.reveal") == [("secret", {})]
        await problem(await client.get(f"{params}/needed", params={"reveal": "true"}), 404)


async def test_a_machine_is_revealed_nothing(parts):
    machine = await parts.ready(params={"secret": "hush"})
    async with serving(parts.operators_app(), await parts.secret(TokenPurpose.MACHINE, machine)) as client:
        await problem(await client.get(f"{API}/machines/{machine}/params/secret", params={"reveal": "true"}), 403)
        assert await (await client.get(f"{API}/machines/{machine}/params/secret")).json() == "********"
    assert await parts.events("param.reveal") == []


async def test_a_machine_sets_no_templates(parts):
    await parts.catalog.put(Param(name="text", expand=True), OPERATOR)
    machine = await parts.ready()
    async with serving(parts.operators_app(), await parts.secret(TokenPurpose.MACHINE, machine)) as client:
        params = f"{API}/machines/{machine}/params"
        assert (await client.put(f"{params}/text", json="plain")).status == 204
        await problem(await client.put(f"{params}/text", json=["{{ params.secret }}"]), 403)
        await problem(await client.patch(params, json={"text": "{{ params.secret }}"}), 403)
        assert await (await client.get(params)).json() == {"text": "plain"}


async def test_asterisks_keep_a_secure_value_and_need_one_to_keep(parts):
    machine = await parts.ready(params={"secret": "hush"})
    async with await operator(parts) as client:
        one, params = f"{API}/machines/{machine}", f"{API}/machines/{machine}/params"
        shown = (await (await client.get(one)).json())["params"]
        assert (await client.put(f"{params}/secret", json=shown["secret"])).status == 204
        assert (await client.patch(params, json=shown)).status == 200
        assert await (await client.get(f"{params}/secret", params={"reveal": "true"})).json() == "hush"
        body = await problem(await client.put(f"{params}/power%2Fpassword", json="********"), 422)
        assert "none is kept here" in body["detail"]


async def test_nobody_sets_what_looks_sealed(parts):
    machine = await parts.ready(params={"secret": "hush"})
    sealed = parts.machine(machine).params["secret"]
    async with await operator(parts) as client:
        for name in ("secret", "count"):
            await problem(await client.put(f"{API}/machines/{machine}/params/{name}", json=sealed), 422)


async def test_a_value_that_is_no_template_is_refused(parts):
    await parts.catalog.put(Param(name="text", expand=True), OPERATOR)
    machine = await parts.ready()
    async with await operator(parts) as client:
        body = await problem(await client.put(f"{API}/machines/{machine}/params/text", json={"a": ["{{ x"]}), 422)
        assert body["errors"][0]["path"] == "text.a[0]" and "is not a template" in body["errors"][0]["message"]


async def test_a_profile_keeps_its_secure_values_behind_asterisks(parts):
    await parts.catalog.put(Profile(name="mine", params={"secret": "hush", "count": 1}), OPERATOR)
    machine = await parts.ready(profiles=("mine",))
    value = parts.catalog.find("profiles", "mine")
    kept = Profile(name="mine", params={"secret": "********", "count": 2})
    await parts.catalog.put(kept, OPERATOR)
    assert parts.catalog.find("profiles", "mine").params["secret"] == value.params["secret"]
    async with await operator(parts) as client:
        params = f"{API}/machines/{machine}/params"
        assert await (await client.get(f"{params}/secret", params={"reveal": "true"})).json() == "hush"
        assert await (await client.get(f"{params}/count")).json() == 2
