"""What templates of boot scripts see."""

from __future__ import annotations

import pytest

from agent.errors import RenderError
from provisioner.conductor.boot_context import Reached
from provisioner.errors import Invalid
from provisioner.model.content import BootArch, Bootenv
from provisioner.model.machines import Machine
from tests.parts import MAC, OPERATOR, START

REACHED = Reached("10.0.0.1", "http://10.0.0.1:8091")


async def test_a_stranger_is_no_machine_to_templates_and_boots_what_is_set_for_strangers(parts):
    bootenv = parts.boot_context.bootenv_of(None)
    context = parts.boot_context.of(MAC, None, bootenv, REACHED)
    assert (bootenv.name, context["machine"], context["mac_dashed"]) == ("discovery", None, "52-54-00-00-00-01")
    assert context["server"] == {"url": REACHED.url, "address": "10.0.0.1"} and context["ticket"] == ""


async def test_the_context_of_a_script_has_the_kernel_with_the_ticket_in_its_command_line(parts):
    context = parts.boot_context.of_script(MAC, None, parts.boot_context.bootenv_of(None), REACHED, "T")
    assert context["kernel_url"] == "http://10.0.0.1:8091/files/discovery/vmlinuz"
    assert context["initrd_urls"] == ["http://10.0.0.1:8091/files/discovery/initrd.img"]
    assert context["boot_params"] == "provisioner.url=http://10.0.0.1:8091 provisioner.ticket=T"


async def test_an_environment_without_a_kernel_adds_none(parts):
    assert "kernel_url" not in parts.boot_context.of_script(MAC, None, Bootenv(name="local"), REACHED)


async def test_an_environment_for_other_architectures_says_what_it_has(parts):
    machine = await parts.ready()
    known = parts.ledger.get(Machine, machine)
    with pytest.raises(Invalid, match="has nothing for amd64; it has arm64"):
        parts.boot_context.arch(Bootenv(name="b", arch={"arm64": None}), known)


async def test_templates_of_new_content_are_rendered(parts):
    assert parts.boot_context.render("x", {"mac": MAC}, {"x": "{{ mac }}"}) == MAC
    template = parts.catalog.find("templates", "shared/hello")
    await parts.catalog.put(type(template)(name="mine", contents="new"), OPERATOR)
    assert parts.boot_context.render("mine", {}) == "new"


def cmdline(parts, boot_params, **params):
    bootenv = Bootenv(name="own", arch={"amd64": BootArch(kernel="k", boot_params=boot_params)})
    context = {"params": params, "param_errors": {}}
    return parts.boot_context.kernel(
        Machine(id="", name=MAC, macs=(MAC,), created_at=START, updated_at=START), bootenv, REACHED, context
    ).cmdline


async def test_a_command_line_may_be_written_on_several_lines(parts):
    assert cmdline(parts, "quiet\n  x={{ param('x') }}\n", x='"a b"\n') == 'quiet x="a b"'


@pytest.mark.parametrize("value", ["one\ntwo", {"deep": ["one\ntwo"]}])
async def test_a_value_of_several_lines_is_refused_by_name(parts, value):
    source = "x={{ param('site/x') if param('site/x') is string else param('site/x').deep[0] }}"
    with pytest.raises(RenderError, match="bootenv own boot_params: param 'site/x' has a line break"):
        cmdline(parts, source, **{"site/x": value})


async def test_a_value_that_no_command_line_can_hold_is_refused(parts):
    with pytest.raises(RenderError, match="cannot hold the character"):
        cmdline(parts, "x={{ param('x') }}", x="a\0b")
