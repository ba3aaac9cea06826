"""Conversations as readable text: what a client sends (`>`), what it is answered (`<`), what the timeline says (`!`).

Lines that begin with `@` change the scene for what follows:

    @ wait 1800                 seconds pass
    @ arrives unicast           sent to our address instead of to everybody
    @ arrives 172.16.0.1 eth1   at this address and interface of ours

`REFRESH_CONVERSATIONS=1` writes the answers anew; read the difference before you commit it.
"""
