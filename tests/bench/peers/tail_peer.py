"""tail_peer.py report|storm COMMAND...: ffmpeg's report through a temporary file, as the scripts did that
jobrun replaces.

FFREPORT names a temporary file; a thread reads it line by line and sleeps 0.1 s at its end, while
asyncio waits for the process.

SPDX-License-Identifier: MIT"""
import asyncio
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor


def follow(report, process, on_line):
    count = 0
    while True:
        line = report.readline()
        if not line:
            if process.returncode is not None:
                return count
            time.sleep(0.1)
            continue
        count += 1
        on_line(line)


async def main(command, on_line):
    with tempfile.NamedTemporaryFile(mode="w+", encoding="utf-8") as report:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(os.environ, FFREPORT=f"file={report.name}:level=32"),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        executor = ThreadPoolExecutor()
        count = executor.submit(follow, report, process, on_line)
        await process.wait()
        executor.shutdown(wait=True)
        return count.result()


us = []


def stamped_line(line):
    at = time.monotonic_ns()
    words = line.split(" ", 3)
    if words[0] == "T":
        us.append((at - int(words[2])) / 1e3)


lines = asyncio.run(main(sys.argv[2:], stamped_line if sys.argv[1] == "report" else lambda line: None))
use = resource.getrusage(resource.RUSAGE_SELF)
values = {"lines": lines, "cpu": use.ru_utime + use.ru_stime}
if us:
    us.sort()
    values.update(p50_us=us[len(us) // 2], p99_us=us[len(us) * 99 // 100])
print(" ".join(f"{key}={value:.6g}" for key, value in values.items()))
