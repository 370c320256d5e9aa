# shellcheck shell=sh
# Tells the coordinator what this shell's agent is doing. For bash and any POSIX sh; needs curl.
#
#   export SESSION_ID=session-1-ndi CAPABILITIES=video,ndi,streaming
#   . ./notify.sh                        registers the session as idle
#
#   notify_busy      TASK
#   notify_blocked   REASON
#   notify_completed TASK                (then idle by itself)
#   notify_help      REASON
#   notify_idle      [LAST_TASK]
#
# IFNOTIFY_URL is the coordinator's address, http://localhost:8765 unless it is set. Every
# function prints one line for each notification and returns 0, so that a coordinator that is
# down stops no script, not even one under `set -e`.

notify_idle() {
    _ifnotify_send idle "${1:-${_ifnotify_task-}}" '' || :
}

notify_busy() {
    _ifnotify_task=${1-}
    _ifnotify_send busy "${1-}" '' || :
}

notify_blocked() {
    _ifnotify_send blocked "${_ifnotify_task-}" "${1-}" || :
}

notify_completed() {
    _ifnotify_task=${1-}
    _ifnotify_completed=$((_ifnotify_completed + 1))
    _ifnotify_send completed "${1-}" '' || :
    notify_idle
}

notify_help() {
    _ifnotify_send help "${_ifnotify_task-}" "${1-}" || :
}

# Nothing of the environment: a number from there would be evaluated, and with it what it names.
_ifnotify_completed=0

# _ifnotify_send STATUS LAST_TASK MESSAGE: sends one notification and says how it went. The body
# is a subshell: neither its variables nor its options reach the shell that sourced this file.
_ifnotify_send() (
    set +eu
    if [ -z "$SESSION_ID" ]; then
        echo '✗ Failed to notify coordinator: SESSION_ID is not set'
        return 1
    fi
    url=${IFNOTIFY_URL:-http://localhost:8765}
    body=$(
        printf '{"session_id": %s, "status": "%s", "timestamp": "%s", "last_task": %s, ' \
            "$(_ifnotify_json "$SESSION_ID")" "$1" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
            "$(_ifnotify_json "$2")"
        printf '"message": %s, "capabilities": %s, "tasks_completed": %d}' \
            "$(_ifnotify_json "$3")" "$(_ifnotify_json "$CAPABILITIES" list)" \
            "$_ifnotify_completed"
    )
    # An address is one address: no option of curl's, no file, and no pattern that names many.
    # -q first: a .curlrc is for the person, not for this. The coordinator is never behind a proxy.
    if answer=$(printf '%s' "$body" | command curl -q --silent --show-error --max-time 5 \
        --proto '=http,https' --globoff --noproxy '*' --output /dev/null --write-out '%{http_code}' \
        --header 'Content-Type: application/json' --data-binary @- \
        --url "${url%/}/agent/$1" 2>&1); then
        if [ "$answer" = 200 ]; then
            echo "✓ Notified coordinator: /AGENT/$(printf '%s' "$1" | tr '[:lower:]' '[:upper:]')"
            return 0
        fi
        echo "✗ Notification failed: $answer"
    else
        # Without an answer curl still writes the code it does not have.
        printf '✗ Failed to notify coordinator: %s\n' "${answer%000}" | tr -d '\n'
        echo
    fi
    return 1
)

# _ifnotify_json TEXT: prints the text as a JSON string, null when it is empty; with `list`, as
# an array of the parts between commas. ASCII comes out whatever goes in: the bytes are decoded
# as UTF-8 here, because neither the locale nor the awk at hand can be relied on for that, and
# what is not UTF-8 becomes U+FFFD.
_ifnotify_json() {
    printf '%s' "$1" | LC_ALL=C od -An -v -tu1 | LC_ALL=C awk -v list="$2" '
        function emit(point) {
            if (point == 34 || point == 92)
                return text = text sprintf("\\%c", point)
            if (point >= 32 && point < 127)
                return text = text sprintf("%c", point)
            if (point < 65536)
                return text = text sprintf("\\u%04x", point)
            point -= 65536
            text = text sprintf("\\u%04x\\u%04x", 55296 + int(point / 1024), 56320 + point % 1024)
        }
        function end_of_part() {
            sub(/ +$/, "", text)
            if (text != "")
                parts = parts (parts == "" ? "" : ", ") "\"" text "\""
            text = ""
        }
        # Sets point and more (how many bytes follow) for the character that begins at byte[i].
        function decode(i,    k, least) {
            point = byte[i]
            more = 0
            if (point < 128)
                return
            if (point >= 194 && point < 224) { more = 1; point -= 192; least = 128 }
            else if (point >= 224 && point < 240) { more = 2; point -= 224; least = 2048 }
            else if (point >= 240 && point < 245) { more = 3; point -= 240; least = 65536 }
            else { point = 65533; return }
            for (k = 1; k <= more; k++) {
                if (i + k >= count || byte[i + k] < 128 || byte[i + k] > 191)
                    break
                point = point * 64 + byte[i + k] - 128
            }
            if (k <= more || point < least || point > 1114111 || (point >= 55296 && point < 57344)) {
                point = 65533
                more = 0
            }
        }
        { for (i = 1; i <= NF; i++) byte[count++] = $i + 0 }
        END {
            for (i = 0; i < count; i += 1 + more) {
                decode(i)
                if (list && point == 44)
                    end_of_part()
                else if (list && (point == 32 || (point >= 9 && point <= 13))) {
                    if (text != "")
                        emit(32)
                } else
                    emit(point)
            }
            if (list) {
                end_of_part()
                printf "[%s]", parts
            } else if (count)
                printf "\"%s\"", text
            else
                printf "null"
        }'
}

if _ifnotify_send idle '' ''; then
    echo "✓ $SESSION_ID is registered as idle"
fi
