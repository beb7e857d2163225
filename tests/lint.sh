#!/bin/sh
# lint.sh FLOORS: the layering rule (a file includes only headers of files before it in FLOORS), then the
# formatting of C files and luacheck. Exits 1 on the first kind of fault found, naming all of that kind.
set -e
floors=$1
bad=0
before=" jobrun "
for noun in $floors main; do
  before="$before$noun "
  for file in src/$noun.c src/$noun.h; do
    [ -f "$file" ] || continue
    for include in $(sed -n 's/^#include "\(.*\)\.h"/\1/p' "$file"); do
      case $before in *" $include "*) ;; *) echo "$file includes $include.h, which is on a higher floor"; bad=1 ;; esac
    done
  done
done
for file in src/*.c src/*.h; do
  noun=${file#src/} noun=${noun%.*}
  case " $floors main " in *" $noun "*) ;; *) echo "$file is on no floor (see FLOORS in the Makefile)"; bad=1 ;; esac
done
[ $bad = 0 ] || exit 1

sh tests/deps.sh clang-format lua-check
files=$(git ls-files '*.c' '*.h')
# shellcheck disable=SC2086
clang-format --dry-run --Werror $files
luacheck -q lua scripts tests
echo "lint: clean"
