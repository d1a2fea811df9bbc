#!/bin/sh
# Checks this machine before any Python package exists, then hands on to `lakehouse doctor`.
# Usage: ./check_setup.sh [--json] [options of `lakehouse doctor`]
# Each check passes, warns or fails, with its fix. Exit 1 only when a check fails.
set -u
CDPATH='' cd "$(dirname "$0")" || exit 1
json=
for word in "$@"; do
    case $word in
        --json) json=yes ;;
        -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
    esac
done
doctor=.venv/bin/lakehouse
failed=0
group=
entries=

quoted() { # text, as a JSON string
    printf '"%s"' "$(printf '%s' "$1" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')"
}

check() { # group, name, state, detail, fix
    [ "$3" != fail ] || failed=1
    if [ -n "$json" ]; then
        entries="$entries${entries:+,
}  {\"group\": $(quoted "$1"), \"name\": $(quoted "$2"), \"state\": $(quoted "$3"), \
\"detail\": $(quoted "$4"), \"fix\": $(quoted "${5:-}")}"
        return
    fi
    [ "$1" = "$group" ] || echo "$1"
    group=$1
    printf '  %s  %s: %s\n' "$3" "$2" "$4"
    [ -z "${5:-}" ] || printf '        fix: %s\n' "$5"
}

check_python() {
    for python in python3.11 python3.12 python3.13 python3 ''; do
        [ -n "$python" ] || break
        "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
            2>/dev/null && break
    done
    if [ -z "$python" ]; then
        check python version fail "none from 3.11 to 3.13 on PATH" \
            "install python3.11 or newer, or name one: make setup PYTHON=/path/to/python3"
        return
    fi
    check python version pass "$("$python" --version 2>&1) as $python"
    for module in venv ensurepip; do
        if "$python" -c "import $module" 2>/dev/null; then
            check python "$module" pass "there"
        else
            check python "$module" fail "missing from $python" \
                "install its venv package, such as python3-venv"
        fi
    done
}

check_java() {
    for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} java; do
        found=$("$java" -version 2>&1 |
            sed -n 's/.* version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1)
        if [ "${found:-0}" -ge 17 ]; then
            check java version pass "$found as $java"
            return
        fi
    done
    check java version warn "${found:-none}: the packaged one is used" \
        "nothing to do, or install a JDK 17 or newer and set JAVA_HOME"
}

at_least() { # name, MiB there, MiB to pass, MiB to warn, words of the need
    if [ -z "$2" ]; then
        check machine "$1" warn "not known" "see that there are $5"
    elif [ "$2" -ge "$3" ]; then
        check machine "$1" pass "$(($2 / 1024)) GiB"
    elif [ "$2" -ge "$4" ]; then
        check machine "$1" warn "$2 MiB" "$5 are advised"
    else
        check machine "$1" fail "$2 MiB" "$5 are needed"
    fi
}

free_disk() { # MiB
    df -Pk . | awk 'NR == 2 { print int($4 / 1024) }'
}

memory() { # MiB of this machine, or of this container where it is given less
    if [ -r /proc/meminfo ]; then
        total=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
    else
        total=$(sysctl -n hw.memsize | awk '{ print int($1 / 1048576) }')
    fi
    limit=$(awk '/^[0-9]+$/ { print int($1 / 1048576) }' /sys/fs/cgroup/memory.max)
    if [ -n "$limit" ] && [ "$limit" -lt "${total:-0}" ]; then total=$limit; fi
    echo "$total"
}

check_machine() {
    if command -v make >/dev/null 2>&1; then
        check machine make pass "there"
    else
        check machine make fail "missing" "install make"
    fi
    at_least "free disk" "$(free_disk 2>/dev/null)" 5120 1024 "5 GiB"
    # a machine sold with 4 GiB shows a little less
    at_least memory "$(memory 2>/dev/null)" 3700 2048 "4 GiB"
    if [ -w . ]; then
        check machine folder pass "writable"
    else
        check machine folder fail "not writable" "mend the rights of this folder"
    fi
}

check_environment() {
    if [ ! -x "$doctor" ]; then
        check environment .venv warn "not made yet" "make setup"
        return 1
    fi
    by=$(sed -n '1s/^#! *\([^ ]*\).*/\1/p' "$doctor")
    if [ ! -x "$by" ]; then
        check environment .venv fail "its Python is not there: was this folder moved?" \
            "rm -r .venv && make setup"
        return 1
    fi
    check environment .venv pass "there"
}

check_python
check_java
check_machine
if check_environment; then
    [ -z "$json" ] || exec "$doctor" doctor "$@" # which checks all of this too, in one document
    "$doctor" doctor "$@" || failed=1
fi
[ -z "$json" ] || printf '[\n%s\n]\n' "$entries"
exit "$failed"
