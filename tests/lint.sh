#!/bin/sh
# lint.sh "NOUN … / NOUN … / …": the layering rule over the floors, lowest first: a .c file includes headers of its own floor
# and of lower ones, a .h file only headers that stand before it, so neither floors nor headers make a circle.
# Then the formatting of C files and luacheck. Exits 1 at the first kind of fault, naming all of that kind.
set -e
bad=0
complain() {
  echo "$1"
  bad=1
}

# check FILE ALLOWED: each header of ours that FILE includes is among ALLOWED.
check() {
  [ -f "$1" ] || return 0
  for include in $(sed -n 's/^#include "\(.*\)\.h"/\1/p' "$1"); do
    case " $2 " in *" $include "*) ;; *) complain "$1 includes $include.h, which stands higher" ;; esac
  done
}

known=" jobrun "
rest="$1 /"
while [ -n "$rest" ]; do
  floor=${rest%%/*}
  rest=${rest#*/}
  for noun in $floor; do
    check "src/$noun.h" "$known $noun"
    known="$known$noun "
  done
  for noun in $floor; do check "src/$noun.c" "$known"; done
done
for file in src/*.c src/*.h; do
  noun=${file#src/}
  case $known in *" ${noun%.*} "*) ;; *) complain "$file is on no floor (see FLOORS in the Makefile)" ;; esac
done
[ $bad = 0 ] || exit 1

sh tests/deps.sh clang-format lua-check
# shellcheck disable=SC2046
clang-format --dry-run --Werror $(git ls-files '*.c' '*.h')
luacheck -q lua scripts tests
echo "lint: clean"
