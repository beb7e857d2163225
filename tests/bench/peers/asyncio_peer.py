"""asyncio_peer.py BENCH [N | COMMAND...]: the benches of ../bench.py on asyncio.

SPDX-License-Identifier: MIT"""
import asyncio
import json
import os
import resource
import sys
import time

now = time.perf_counter


def out(**values):
    print(" ".join(f"{key}={value:.6g}" for key, value in values.items()), flush=True)


def rss():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def cpu():
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


def spread(seconds):
    """min, p50, p99 and max in microseconds"""
    if not seconds:
        return {}
    seconds.sort()
    n = len(seconds)
    at = {"min": 0, "p50": n // 2, "p99": n * 99 // 100, "max": n - 1}
    return {f"{name}_us": seconds[i] * 1e6 for name, i in at.items()}


def numbers(x=12345):
    while True:
        x = x * 16807 % 2147483647
        yield x


async def noop():
    pass


async def spawn(n):
    begun = now()
    for _ in range(n // 1000):
        await asyncio.gather(*[asyncio.create_task(noop()) for _ in range(1000)])
    out(per_s=n / (now() - begun))


async def switch(n):
    async def turns():
        for _ in range(n // 100):
            await asyncio.sleep(0)

    begun = now()
    await asyncio.gather(*[asyncio.create_task(turns()) for _ in range(100)])
    out(ns=(now() - begun) / n * 1e9)


async def alive(n):
    before = rss()

    async def one():
        await asyncio.sleep(1e6)

    tasks = [asyncio.create_task(one()) for _ in range(n)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    out(bytes=(rss() - before) / len(tasks))
    os._exit(0)


async def sleep(n):
    random, late = numbers(), []

    async def one(duration):
        begun = now()
        await asyncio.sleep(duration)
        late.append(now() - begun - duration)

    begun = now()
    await asyncio.gather(*[asyncio.create_task(one(next(random) % 1000 / 1000)) for _ in range(n)])
    out(wall=now() - begun, cpu=time.process_time(), **spread(late))


def add(a, b):
    return a + b


def pool(threads):
    from concurrent.futures import ThreadPoolExecutor

    loop, executor = asyncio.get_running_loop(), ThreadPoolExecutor(max_workers=threads)
    return lambda *call: loop.run_in_executor(executor, *call)


async def trip(n):
    call = pool(4)
    await asyncio.gather(*[call(add, 1, i) for i in range(100)])
    begun = now()
    for i in range(n):
        await call(add, 1, i)
    out(us=(now() - begun) / n * 1e6)


async def calls(n):
    call, begun = pool(4), now()
    for _ in range(n // 1000):
        await asyncio.gather(*[call(add, 1, i) for i in range(1000)])
    out(per_s=n / (now() - begun))


async def nine(n):
    call, begun = pool(3), now()
    await asyncio.gather(*[call(time.sleep, 0.3) for _ in range(n)])
    out(wall=now() - begun)


async def process():
    await (await asyncio.create_subprocess_exec("/bin/true")).wait()


async def run_processes(n, at_once):
    async def worker():
        nonlocal n
        while n > 0:
            n -= 1
            await process()

    begun, count = now(), n
    await asyncio.gather(*[worker() for _ in range(at_once)])
    spent = now() - begun
    out(per_s=count / spent, ms=spent / count * 1e3)


# Named exec_ because exec is Python's own word; __main__ maps them.
async def exec_1(n):
    await run_processes(n, 1)


async def exec_8(n):
    await run_processes(n, 8)


async def exec_1gb(n):
    ballast = b"x" * (1 << 30)
    await run_processes(n, 1)
    del ballast


async def lines(n):
    child = await asyncio.create_subprocess_exec(
        os.environ["LINEPROD"], str(n), stdout=asyncio.subprocess.PIPE
    )
    begun, count, size = now(), 0, 0
    async for line in child.stdout:
        count += 1
        size += len(line)
    await child.wait()
    out(lines_per_s=count / (now() - begun), lines=count)


async def follow(command, on_line):
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    count = 0
    while line := await child.stderr.readline():
        count += 1
        on_line(line.decode("utf-8", "replace"))
    await child.wait()
    return count


async def report(*command):
    """by stderr, as is usual; FFREPORT would need a further pipe, which asyncio does not offer"""
    latencies = []

    def on_line(line):
        at = time.monotonic_ns()
        words = line.split(" ", 3)
        if words[0] == "T":
            latencies.append((at - int(words[2])) / 1e9)

    count = await follow(command, on_line)
    out(lines=count, cpu=cpu(), **spread(latencies))


async def storm(*command):
    count = await follow(command, lambda line: None)
    out(lines=count, cpu=cpu())


def documents(n):
    """n runs of a job, as jobrun.lua has them"""
    return [{
        "id": i, "job": f"encode-{i}", "started": "2026-11-26T10:00:00.123Z", "duration": i / 7, "status": "ok", "exit_code": 0,
        "tags": ["nightly", "archive", "av1"], "progress": {"frame": i * 25, "fps": 29.97, "speed": 1.5, "done": True},
        "log": 'line one\nline "two" café 日本語 /srv/media/in.mp4 -> /srv/media/out.mkv',
    } for i in range(1, n + 1)]


async def json_codec(n):
    def write(value):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def rate(fn, arg):
        best = float("inf")
        for _ in range(10):
            begun = now()
            fn(arg)
            best = min(best, now() - begun)
        return size / best / 1e6

    runs = documents(n)
    text = write(runs)
    size = len(text.encode())
    out(decode=rate(json.loads, text), encode=rate(write, runs))


BENCHES = {"exec": exec_1, "exec8": exec_8, "json": json_codec}
name, args = sys.argv[1], sys.argv[2:]
if name not in ("report", "storm"):
    args = [int(arg) for arg in args]
asyncio.run(BENCHES.get(name, globals().get(name))(*args))
