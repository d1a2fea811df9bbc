#!/bin/sh
# Checks this machine before any Python package exists, then hands on to `lakehouse doctor`.
# Usage: ./check_setup.sh [--json]. Exit 1 only when a check fails.
set -u
cd "$(dirname "$0")" || exit 1
case "${1:-}" in
    "" | --json) ;;
    *) sed -n '2,3s/^# //p' "$0"; [ "$1" = --help ] && exit 0; exit 2 ;;
esac
failed=0
json=${1:-}
check() { # state, name, detail, fix
    [ "$1" = fail ] && failed=1
    [ "${json:-}" ] && return
    printf '  %s %s: %s\n' "$1" "$2" "$3"
    [ -z "$4" ] || printf '      fix: %s\n' "$4"
}

if [ -x .venv/bin/lakehouse ]; then
    exec .venv/bin/lakehouse doctor ${json:+--json}
fi
python=
for name in python3 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
        python=$name
        break
    fi
done
if [ -n "$python" ]; then
    check pass python "$("$python" --version)" ""
    if "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        check pass venv "there" ""
    else
        check fail venv "missing" "install python3-venv"
    fi
else
    check fail python "none from 3.11 to 3.13" "install python3.11 or newer"
fi
if command -v java >/dev/null 2>&1; then
    check pass java "$(java -version 2>&1 | head -n 1)" ""
else
    check warn java "none: a packaged one is used" ""
fi
if command -v make >/dev/null 2>&1; then check pass make "there" ""; else
    check fail make "missing" "install make"
fi
free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
if [ "$free" -ge 5 ]; then check pass disk "$free GiB free" ""; else
    check warn disk "$free GiB free" "free 5 GiB"
fi
if [ -w . ]; then check pass folder "writable" ""; else
    check fail folder "not writable" "mend the rights of this folder"
fi
check warn packages "not installed yet" "make setup"
[ -z "$json" ] || printf '{"failed": %s}\n' "$([ $failed = 0 ] && echo false || echo true)"
exit $failed
