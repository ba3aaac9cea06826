"""The agent as a service of systemd."""

from __future__ import annotations

NAME = "provisioner-agent.service"
PATH = f"/etc/systemd/system/{NAME}"
AGENT_PATH = "/opt/provisioner/agent.pyz"
CONFIG_PATH = "/etc/provisioner/agent.json"

_UNIT = """\
[Unit]
Description=Provisioner agent
ConditionPathExists={agent}
ConditionPathExists={config}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={python} -I {agent} run --config {config}
Environment=PYTHONUNBUFFERED=1
RuntimeDirectory=provisioner
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
# An agent that a task has told to stop ends well, and stays away until the next boot.
Restart=on-failure
RestartSec=5
# The agent ends its scripts itself, with TERM first, and then says what became of them.
KillMode=mixed
TimeoutStopSec=30
# A script that memory runs out for is killed and its job fails; the agent is here to say so.
OOMPolicy=continue
SyslogIdentifier=agent
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
"""


def unit(python: str = "/usr/bin/python3") -> str:
    """The unit's text; `python` runs the agent."""
    return _UNIT.format(agent=AGENT_PATH, config=CONFIG_PATH, python=python)
