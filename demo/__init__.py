"""The demonstration: a server and a fleet of agents that do the Phase 0 board.

`python -m demo` runs it. The work itself is simulated (an hour of the board takes a second);
the server, the sessions, the faults and the evidence are real.
"""
