#!/bin/sh
# run.sh BUILD: runs the C tests and the luaunit suites of a build; the last line is
# "N passed, N failed, N skipped". Exits 1 if one failed.
build=$1
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

for test in "$build"/tests/test_*; do
  case $test in *.d) continue ;; esac
  echo "== ${test##*/}"
  "$test" >"$log" 2>&1
  status=$?
  ok=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log")
  bad=$(sed -n 's/^\[  FAILED  \] [^:]*: \([0-9]*\) test.*/\1/p' "$log")
  skip=$(sed -n 's/^\[  SKIPPED \] [^:]*: \([0-9]*\) test.*/\1/p' "$log")
  [ $status -ne 0 ] && [ -z "$bad" ] && bad=1
  [ -n "$bad" ] && cat "$log"
  passed=$((passed + ${ok:-0})) failed=$((failed + ${bad:-0})) skipped=$((skipped + ${skip:-0}))
done

JOBRUN_BUILD=$build "$build/jobrun" test tests >"$log.lua" 2>&1
status=$?
cat "$log.lua"
line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log.lua" | tail -n 1)
rm -f "$log.lua"
if [ -n "$line" ]; then
  # shellcheck disable=SC2046
  set -- $(echo "$line" | tr -cd '0-9 ')
  passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
  [ $status -ne 0 ] && [ "$2" = 0 ] && failed=$((failed + 1))
else
  failed=$((failed + 1))
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
