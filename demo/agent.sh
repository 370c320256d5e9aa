#!/bin/sh
# A session that is a shell script: it watches and reports with the command line, says what it is
# doing with the shell functions, and claims with curl. The work is simulated: it is slept.
#
# From the environment: SESSION_ID, CAPABILITIES and IFNOTIFY_URL as notify.sh wants them;
# INFRAFABRIC (the command) and INFRAFABRIC_SERVER; JOURNAL (a file); TASKS (what to do, each as
# ID=HOURS); SECOND_PER_HOUR and COST_PER_HOUR (in US dollars).
set -eu

export INFRAFABRIC_SWARM="$SESSION_ID"

# note EVENT [JSON_FIELDS]: appends a line to the journal.
note() {
    printf '{"time": %s, "event": "%s", "swarm_id": "%s"%s}\n' \
        "$(date +%s)" "$1" "$SESSION_ID" "${2-}" >>"$JOURNAL"
}

# hours TASK: prints how long the task takes; fails when the task is not for this session.
hours() {
    for each in $TASKS; do
        [ "${each%=*}" = "$1" ] && echo "${each#*=}" && return
    done
    return 1
}

# claim TASK: prints the attempt and the seconds that the call took; nothing when it is lost.
claim() {
    curl -q --silent --show-error --fail --noproxy '*' --max-time 5 \
        --header 'content-type: application/json' \
        --data "{\"session_id\": \"$SESSION_ID\", \"task\": {\"id\": \"$1\"}}" \
        --write-out '\n"seconds": %{time_total}\n' "$IFNOTIFY_URL/task/assign" |
        sed -n 's/.*"attempt": *\([0-9][0-9]*\).*/\1/p; s/^"seconds": //p' | tr '\n' ' '
}

# work TASK HOURS ATTEMPT: does the task, milestone by milestone.
work() {
    about=", \"task_id\": \"$1\", \"attempt\": $3"
    quarter=$(awk "BEGIN { print $2 * $SECOND_PER_HOUR / 4 }")
    notify_busy "$1"
    for percent in 25 50 75 100; do
        sleep "$quarter"
        "$INFRAFABRIC" tasks progress "$1" "$percent" --attempt "$3"
        note progress "$about, \"percent\": $percent"
    done
    "$INFRAFABRIC" tasks complete "$1" --attempt "$3" --cost $(($2 * COST_PER_HOUR)) \
        --result "{\"simulated_hours\": $2}"
    note completed "$about"
    notify_idle "$1"
}

# All that is printed is for the log; the journal is what counts.
exec >&2
# shellcheck source=/dev/null # checked by itself
. "$(dirname "$0")/../clients/shell/notify.sh"
note opened

# The watch is a process of its own, which must not outlive this one.
events=$(mktemp -d)
mkfifo "$events/pipe"
"$INFRAFABRIC" tasks watch >"$events/pipe" &
watch=$!
trap 'kill "$watch" 2>/dev/null; rm -rf "$events"' EXIT
trap 'exit 0' TERM

# Lines look like this: `P0.1.4: available  Latency verification`.
while read -r name state _; do
    task=${name%:}
    [ "$state" = available ] || continue
    todo=$(hours "$task") || continue
    # shellcheck disable=SC2046 # two numbers, which are to be split
    set -- $(claim "$task")
    [ $# -eq 2 ] || continue
    note received ", \"task_id\": \"$task\", \"attempt\": $1"
    note claimed ", \"task_id\": \"$task\", \"attempt\": $1, \"seconds\": $2"
    work "$task" "$todo" "$1" </dev/null
done <"$events/pipe"
