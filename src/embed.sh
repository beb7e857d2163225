#!/bin/sh
# embed.sh FILE...: writes a C file that holds the files as text, byte for byte (.incbin).
# SPDX-License-Identifier: MIT
echo '#include "lib.h"'
i=0
for file in "$@"; do
  printf '__asm__(".pushsection .rodata; jr_lua_%d: .incbin \\"%s\\"; jr_lua_end_%d: .byte 0; .popsection");\n' $i "$file" $i
  printf 'extern const char jr_lua_%d[], jr_lua_end_%d[];\n' $i $i
  i=$((i + 1))
done
echo 'const jr_embedded jr_embedded_files[] = {'
i=0
for file in "$@"; do
  name=${file#lua/}
  printf '    {"%s", jr_lua_%d, jr_lua_end_%d},\n' "${name#src/}" $i $i
  i=$((i + 1))
done
echo '    {0, 0, 0}};'
