"""A simulated fleet: many machines whose agents are the real ones, but for sockets, scripts and time.

`strand` lets the agent's blocking code wait in the event loop; `network` carries its requests, with mishaps if wished,
and `journal` remembers every answer as what the server has acknowledged. `plan` says what tasks do when they are run,
`runner` does their jobs, `machine` boots and reboots, `operator` stands for the people, `audit` holds the server to the
journal.
"""
