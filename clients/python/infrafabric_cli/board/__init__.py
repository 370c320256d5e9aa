r"""Boards: files with tasks, as YAML or as a Markdown table.

Both forms have the same fields; every value is text in both, so that an id like 1.10 stays
what it is. `id` and `title` are required.

    id                        1 to 128 characters of A-Z a-z 0-9 . _ : -
    title                     one line, at most 256 characters
    hours                     expected work, 0 to 720, at most 6 decimals
    depends                   ids of tasks that come first (a list, or comma separated)
    capabilities              what a swarm needs (a list, or comma separated), at most 64
    priority                  -1000 to 1000, higher goes first
    filler                    yes or no: for those who wait or have nothing else to do
    max_cost                  most that it may cost in total, in US dollars
    model                     preferred model, at most 128 characters
    dispatch                  auto, broadcast or manual
    deadline                  a time such as 2026-01-31T12:00:00Z; the task fails after it
    progress_timeout_minutes  taken back when nothing is reported for so long, 1 to 43200
    max_attempts              failures after which it has failed for good, 1 to 100
    input                     for the worker: a mapping in YAML, a JSON object in a table

An empty cell, and a cell with only a dash, stand for nothing. `state`, `owner` and
`milestone` are written by `board export` and passed over by `board import`.

YAML is one mapping with the list `tasks`, without anchors and aliases:

    tasks:
      - id: P0.1.1
        title: event bus
        hours: 1
        capabilities: [bus, integration]
      - id: P0.1.2
        title: atomic claim
        depends: [P0.1.1]

In Markdown every table whose header has the column `id` is part of the board, and all other
text is passed over. Columns may be in any order; a bar within a cell is written `\|`:

    | id     | title        | hours | depends | capabilities     |
    |--------|--------------|-------|---------|------------------|
    | P0.1.1 | event bus    | 1     | -       | bus, integration |
    | P0.1.2 | atomic claim | 2     | P0.1.1  |                  |

A board has at most 1000 tasks and 3 MiB.
"""
