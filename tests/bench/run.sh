#!/bin/sh
# run.sh BUILD [-b BENCHES] [-n RUNS] [-p PEERS]: prints one table of jobrun beside the peers that are installed.
#
# The helpers are built into BUILD/bench. JOBRUN=path measures another binary. Whatever is missing is a
# row that says so; it always ends with status 0.
here=$(cd "$(dirname "$0")" && pwd)
build=$(mkdir -p "$1" && cd "$1" && pwd)
shift
mkdir -p "$build/bench"

python=/usr/bin/python3
[ -x $python ] || python=$(command -v python3)
if [ -z "$python" ]; then
  echo "bench: needs Python 3: apt-get install python3"
  exit 0
fi

for tool in lineprod measure stamps; do
  ${CC:-cc} -O2 -o "$build/bench/$tool" "$here/$tool.c" || exit 0
done
uv=$(pkg-config --cflags --libs libuv 2>/dev/null || echo -luv)
# shellcheck disable=SC2086
${CC:-cc} -O2 -o "$build/bench/uv_peer" "$here/peers/uv_peer.c" $uv 2>/dev/null || rm -f "$build/bench/uv_peer"

if [ ! -d "$build/bench/node_modules/bullmq" ] && command -v npm >/dev/null; then
  timeout 60 npm install --silent --no-audit --no-fund --prefix "$build/bench" \
    fluent-ffmpeg@2.1.3 croner@9 node-cron@3 node-schedule@2 graphile-worker@0.16 pg@8 bullmq@5 >/dev/null 2>&1
fi

JOBRUN=${JOBRUN:-$build/jobrun} "$python" "$here/bench.py" "$build/bench" "$@"
exit 0
