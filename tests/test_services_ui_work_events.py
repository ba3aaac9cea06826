"""What happens to machines and their work, as sentences."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from provisioner.events import Event
from provisioner.services.ui_events import tell
from provisioner.services.ui_work_events import SENTENCES, action_words

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(kind, key="", by="", **data):
    return Event(id=7, time=NOW, kind=kind, key=key, by=by, data=data)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (event("agent.register", score=0), "Registered (new machine)"),
        (event("agent.register", score=3), "Registered (recognised)"),
        (
            event("agent.hello", bootenv="local", hostname="n1", expected_bootenv="discovery"),
            "Agent came up in local (n1, should be in discovery)",
        ),
        (event("agent.reboot", "local"), "Agent reboots it into local"),
        (event("agent.lost", reason="silent for 60 s"), "Its agent was not heard of: silent for 60 s"),
        (event("machine.workflow", workflow="deploy", before=""), "Was given workflow deploy"),
        (event("machine.workflow", workflow="", before="deploy"), "Its workflow deploy was taken away"),
        (event("machine.stage", stage="none"), "Entered stage none"),
        (event("machine.bootenv", bootenv="local", before="discovery"), "Is to boot local from now on (was discovery)"),
        (event("machine.runnable", runnable=True), "May run"),
        (event("machine.runnable", runnable=False, waiting_for="boot of x"), "Must wait: boot of x"),
        (event("machine.complete", workflow="deploy"), "Finished workflow deploy"),
        (event("machine.update", fields=["name", "params"]), "Was changed: name, params"),
        (event("boot.held", "m", reason="it looks like n1"), "Is held at boot: it looks like n1"),
        (event("machine.retry", "n1", task="image", retry=2), "Tries task image again after a pause (retry 2)"),
        (event("machine.repair", "n1", task="image", repairs=["a", "b"]), "Repairs what made task image fail: a, b"),
        (event("machine.stop", "n1", entry="image"), "Was stopped before image"),
        (
            event("machine.restart", "n1", workflow="deploy", stage="write"),
            "Begins its work anew (deploy, at stage write)",
        ),
        (event("machine.resume", "n1"), "Goes on at its task"),
        (event("machine.revoke", "n1", disk="any"), "May not have any disk erased any more"),
        (event("machine.clash", "aa:bb", reason="twins"), "A newcomer with MAC aa:bb is held: twins"),
        (event("machine.resolve", "n1", macs=["aa:bb"]), "Was said to be the newcomer that was held (aa:bb)"),
        (event("param.reveal", "power/password"), "The secret value of power/password was shown"),
        (event("job.asset", "j1", task="image", name="a.txt", size=2048), "Task image handed in a.txt (2 kB)"),
        (event("machine.inventory", changed=False), "Reported its inventory, unchanged"),
        (
            event("machine.grant", disk="any", expires_at="2026-03-01T16:00:00Z"),
            "May have any disk erased (until 2026-03-01 16:00 UTC)",
        ),
        (event("job.create", "j", task="image", attempt=2), "Task image was handed out (attempt 2)"),
        (event("job.start", "j", task="image", resumed="incomplete"), "Task image goes on"),
        (
            event("job.end", "j", task="image", state="failed", exit_code=1, message="no disk"),
            "Task image failed (exit code 1): no disk",
        ),
        (
            event("job.end", "j", task="image", state="finished", exit_state="reboot"),
            "Task image finished (then reboot)",
        ),
        (event("job.end", "j", task="stage:write", state="finished", message="x"), "Went on with stage write"),
        (event("job.cancel", "j", task="image", reason="wrong one"), "Task image was told to stop: wrong one"),
        (
            event("power.request", "power-cycle"),
            "Asked its BMC: switch it off and on again; when it is off, switch it on",
        ),
        (event("power.done", "power-on", message="is on"), "Power on: is on"),
        (event("power.error", "next-boot-pxe", message="no answer"), "Next boot PXE failed: no answer"),
    ],
)
def test_it_is_told_in_a_sentence(told, text):
    assert told.kind in SENTENCES and tell(told).text == text


def test_actions_have_names_for_people():
    assert [action_words(name) for name in ("power-off-soft", "next-boot-pxe")] == ["Power off soft", "Next boot PXE"]
