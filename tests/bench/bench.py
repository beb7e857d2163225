"""bench.py BUILD_DIR [-b BENCHES] [-n RUNS] [-p PEERS]: jobrun beside its peers, one table from one run.

Each bench is a set of programs doing the same work. They run in turn, RUNS times around, so that
what disturbs the machine disturbs all of them alike; a row shows the median and the range. A
program prints one line of key=value pairs; `measure` adds its wall time, CPU time and peak memory.
The bars are those of the design: absolute, or relative to a peer in the same run.

SPDX-License-Identifier: MIT"""
import argparse
import glob
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FOLLOWERS = ("jobrun", "tail", "asyncio", "node", "fluent-ffmpeg", "libuv")
RUN_LIMIT = 60  # seconds one run may take


class Metric:
    """One figure of a bench. `bars` gives a row's bar by the row's label: a number, or a pair
    (factor, label of the row it is relative to)."""

    def __init__(self, key, title, unit, less, bars):
        self.key, self.title, self.unit, self.less, self.bars = key, title, unit, less, bars

    def bar_of(self, label, medians):
        bar = self.bars.get(label)
        if isinstance(bar, tuple):
            factor, other = bar
            return factor * medians[other] if other in medians else None
        return bar


def less(key, title, unit, bar=None, **others):
    return Metric(key, title, unit, True, {"jobrun": bar, **others})


def more(key, title, unit, bar=None, **others):
    return Metric(key, title, unit, False, {"jobrun": bar, **others})


class Bench:
    """`rows` maps labels to commands (lists), or to a sentence that says what is missing. `rounds`
    multiplies the number of runs; `over` names a row whose wall time is taken off the others';
    `lines` is how many lines each program must have counted."""

    def __init__(self, name, metrics, rows, rounds=1, over=None, lines=None, env=None):
        self.name, self.metrics, self.rows = name, metrics, rows
        self.rounds, self.over, self.lines, self.env = rounds, over, lines, env or {}
        self.notes = {}  # label → what was odd


# ---- the programs ---------------------------------------------------------------------------


def find_peers(tools):
    """label → the command's beginning, or a sentence"""

    def have(command, packages):
        if shutil.which(command[0]) is None:
            return f"not installed: apt-get install {packages}" if packages else "not built: run make"
        return command

    peers = {
        "jobrun": have([os.environ.get("JOBRUN", "build/jobrun"), f"{HERE}/jobrun.lua"], None),
        "asyncio": [sys.executable, f"{HERE}/peers/asyncio_peer.py"],
        "tail": [sys.executable, f"{HERE}/peers/tail_peer.py"],
        "node": have(["node", f"{HERE}/peers/node_peer.js"], "nodejs"),
        "luv": have(["lua5.4", f"{HERE}/peers/luv_peer.lua"], "lua5.4 lua-luv"),
        "lua5.4": have(["lua5.4", f"{HERE}/peers/lua_peer.lua"], "lua5.4"),
        "libuv": have([f"{tools}/uv_peer"], "libuv1-dev"),
    }
    peers["fluent-ffmpeg"] = peers["node"]
    if isinstance(peers["node"], list):
        found = os.path.isdir(f"{tools}/node_modules/fluent-ffmpeg")
        peers["fluent-ffmpeg"] = (["node", f"{HERE}/peers/fluent_peer.js"] if found
                                  else "not installed: npm install --prefix build/bench fluent-ffmpeg")
    if isinstance(peers["luv"], list):
        probe = subprocess.run(["lua5.4", "-e", "require 'luv'"], stderr=subprocess.DEVNULL)
        if probe.returncode != 0:
            peers["luv"] = "not installed: apt-get install lua-luv"
    return peers


class Programs:
    def __init__(self, tools, scratch):
        self.tools, self.scratch = tools, scratch
        self.peers = find_peers(tools)

    def with_args(self, label, *args):
        peer = self.peers[label]
        return peer + [str(arg) for arg in args] if isinstance(peer, list) else peer

    def rows(self, bench, n, labels="jobrun asyncio node luv libuv", **other_n):
        """The same bench on each of `labels`; n, or its own where it is that much slower or faster."""
        return {
            label: self.with_args(label, bench, other_n.get(label.replace(".", ""), n))
            for label in labels.split()
        }

    def empty_scripts(self):
        texts = {
            "jobrun": ("lua", ""),
            "asyncio": ("py", "import asyncio\nasync def main(): pass\nasyncio.run(main())\n"),
            "node": ("js", ""),
            "luv": ("lua", "require('luv').run()\n"),
            "lua5.4": ("lua", ""),
        }
        rows = {}
        for label, (suffix, text) in texts.items():
            path = f"{self.scratch}/empty_{label}.{suffix}"  # asyncio.py would hide the module
            with open(path, "w") as script:
                script.write(text)
            peer = self.peers[label]
            rows[label] = [peer[0], path] if isinstance(peer, list) else peer
        rows["libuv"] = self.with_args("libuv", "startup")
        return rows

    def followers(self, bench, *command, labels=FOLLOWERS):
        """Ways to follow ffmpeg: by its report (jobrun, tail, libuv) and by its stderr."""
        return {label: self.with_args(label, bench, *command) for label in labels}

    def schedulers(self, bench, n, **peers):
        """jobrun, and each of `peers` (its name, with _ for -) with its own n."""
        rows = {"jobrun": self.with_args("jobrun", "cron_next" if bench == "next" else f"jobs_{bench}", n)}
        for name, count in peers.items():
            name = name.replace("_", "-")
            if name in ("schedule", "apscheduler", "croniter"):
                probe = subprocess.run(["/usr/bin/python3", "-c", f"import {name}"], stderr=subprocess.DEVNULL)
                rows[name] = (["/usr/bin/python3", f"{HERE}/peers/sched_peer.py", name, bench, str(count)]
                              if probe.returncode == 0 else f"not installed: apt-get install python3-{name}")
            else:
                rows[name] = (["node", f"{HERE}/peers/sched_peer.js", name, bench, str(count)]
                              if os.path.isdir(f"{self.tools}/node_modules/{name}")
                              else f"not installed: npm install --prefix build/bench {name}")
        return rows

    def servers(self, route):
        """HTTP servers, each under wrk."""
        has_fastapi = subprocess.run(["/usr/bin/python3", "-c", "import fastapi, uvicorn, uvloop, httptools"],
                                     stderr=subprocess.DEVNULL).returncode == 0
        nginx = f"{self.scratch}/nginx.conf"
        with open(nginx, "w") as conf:
            conf.write(f"worker_processes 1; daemon off; pid {self.scratch}/nginx.pid; error_log /dev/null;\n"
                       "events {}\nhttp { access_log off; keepalive_requests 100000000; default_type text/plain;\n"
                       "server { listen 127.0.0.1:PORT; location / { return 200 'Hello, World!'; } } }\n")
        jobrun = self.peers["jobrun"]
        rows = {
            "jobrun": [os.path.abspath(jobrun[0]), "app.lua", "PORT"] if isinstance(jobrun, list) else jobrun,
            "node": ["node", "server.js", "PORT"] if shutil.which("node") else "not installed: apt-get install nodejs",
            "FastAPI": ["/usr/bin/python3", "-m", "uvicorn", "app_fastapi:app", "--port", "PORT", "--no-access-log",
                        "--loop", "uvloop", "--http", "httptools"] if has_fastapi
                       else "not installed: apt-get install python3-fastapi python3-uvicorn python3-uvloop python3-httptools",
        }
        if route == "hello":
            rows["nginx"] = (["sh", "-c", f"sed s/P''ORT/$0/ {nginx} > {nginx}.on && exec nginx -c {nginx}.on", "PORT"]
                             if shutil.which("nginx") else "not installed: apt-get install nginx-light")
        if shutil.which("wrk") is None:
            return {label: "needs wrk: apt-get install wrk" for label in rows}
        serve = [sys.executable, f"{HERE}/serve.py", route]
        return {label: serve + row if isinstance(row, list) else row for label, row in rows.items()}

    def queues(self, n):
        """jobrun, and two peers with a server each, where that is installed."""
        rows = {"jobrun": self.with_args("jobrun", "queue", n)}
        for library, server, package in (("graphile-worker", "postgres", "postgresql"), ("bullmq", "redis-server", "redis-server")):
            if not (shutil.which(server) or glob.glob(f"/usr/lib/postgresql/*/bin/{server}")):
                rows[library] = f"not measured: needs its server: apt-get install {package}"
            elif not os.path.isdir(f"{self.tools}/node_modules/{library}"):
                rows[library] = f"not installed: npm install --prefix build/bench {library}"
            else:
                rows[library] = [sys.executable, f"{HERE}/peers/queue_peer.py", library, str(n),
                                 f"{self.tools}/node_modules"]
        return rows

    def stand_ins(self):
        bare = [f"{self.tools}/stamps"]
        return {"bare stand-in": bare, **self.followers("storm", *bare)}

    def encodes(self):
        output = f"{self.scratch}/encode.mp4"
        if shutil.which("ffmpeg") is None:
            return {"bare ffmpeg": "not installed: apt-get install ffmpeg"}
        source = "testsrc2=size=160x120:rate=25:duration=0.3"
        bare = ["ffmpeg", "-nostdin", "-y", "-re", "-f", "lavfi", "-i", source, "-vcodec", "libx264"]
        bare += ["-preset", "ultrafast", "-threads", "1", output]
        rows = {"bare ffmpeg": bare, **self.followers("report", *bare)}
        for label in ("jobrun", "fluent-ffmpeg"):
            rows[label] = self.with_args(label, "encode", source, output)
        return rows


def make_benches(p):
    stamps = f"{p.tools}/stamps"
    count_lines = f"{p.tools}/lineprod 2000000 | wc -l | sed 's/^/lines=/'"
    calls = p.rows("calls", 300000, asyncio=30000, node=50000, luv=100000)
    calls["jobrun spawned"] = p.with_args("jobrun", "calls_spawned", 200000)
    lines = p.rows("lines", 2000000, "jobrun asyncio node luv libuv")
    lines["jobrun callback"] = p.with_args("jobrun", "lines_callback", 2000000)
    lines["wc -l"] = ["sh", "-c", count_lines]
    return [
        Bench("startup", [less("wall_ms", "start-up of an empty script", "ms", 3.0),
                          less("rss_mb", "peak memory of an empty script", "MB", 4.0)],
              p.empty_scripts(), rounds=4),
        Bench("spawn", [more("per_s", "spawn and join, tasks a second", "", 8e6)],
              p.rows("spawn", 1000000, "jobrun asyncio node luv lua5.4", asyncio=200000)),
        Bench("switch", [less("ns", "a switch between tasks", "ns", 90)],
              p.rows("switch", 1000000, "jobrun asyncio node luv lua5.4", asyncio=200000)),
        Bench("alive", [less("bytes", "memory of a sleeping task, of 1e5", "B", 1300)],
              p.rows("alive", 100000, "jobrun asyncio node luv lua5.4")),
        Bench("sleep1e3", [less("p50_us", "1e3 sleeps: late by, p50", "us", 60),
                           less("p99_us", "1e3 sleeps: late by, p99", "us", 1000),
                           more("min_us", "1e3 sleeps: the earliest", "us", -0.001)],
              p.rows("sleep", 1000)),
        Bench("sleep1e5", [less("wall", "1e5 sleeps within 1 s: wall", "s", 1.2),
                           less("cpu", "1e5 sleeps within 1 s: CPU", "s", 0.4),
                           less("p50_ms", "1e5 sleeps: late by, p50", "ms"),
                           less("p99_ms", "1e5 sleeps: late by, p99", "ms", 30),
                           more("min_us", "1e5 sleeps: the earliest", "us", -0.001)],
              p.rows("sleep", 100000)),
        Bench("sleep1e6", [less("wall", "1e6 sleeps within 1 s: wall", "s", 3.0),
                           less("rss_mb", "1e6 sleeps: peak memory", "MB", 1500)],
              p.rows("sleep", 1000000, "jobrun")),
        Bench("trip", [less("us", "blocking call, round trip", "us", (1.2, "libuv"))],
              p.rows("trip", 10000)),
        Bench("calls", [more("per_s", "blocking calls a second, 1000 in flight", "", 1e6)],
              calls),
        Bench("nine", [less("wall", "nine calls of 0.3 s, three at a time", "s", 0.905)],
              p.rows("nine", 9), env={"UV_THREADPOOL_SIZE": "3"}),
        Bench("lines", [more("lines_per_s", "lines of a child's stdout a second", "", 10e6,
                             **{"jobrun callback": 9e6})], lines, lines=2000000),
        Bench("exec", [more("per_s", "child processes a second, in turn", "", 1500)],
              p.rows("exec", 200)),
        Bench("exec8", [more("per_s", "child processes a second, 8 at a time", "", 2000)],
              p.rows("exec8", 600)),
        Bench("exec_1gb", [less("ms", "a child process, with 1 GB resident", "ms", 2.0),
                           less("first_ms", "the first child process, with 1 GB resident", "ms")],
              p.rows("exec_1gb", 20), env={"MEASURE_SMALL_PAGES": "1"}),
        Bench("report", [less("p50_us", "ffmpeg report: write to callback, p50", "us", 100),
                         less("p99_us", "ffmpeg report: write to callback, p99", "us", 1000)],
              p.followers("report", stamps), lines=300, env={"STAMPS_N": "300", "STAMPS_GAP_US": "2000"}),
        Bench("storm", [less("wall", "200 k report lines: wall", "s", 0.5),
                        less("cpu", "200 k report lines: host CPU", "s", 0.25),
                        less("rss_mb", "200 k report lines: peak memory", "MB", 10)],
              p.followers("storm", stamps), lines=200000, env={"STAMPS_N": "200000"}),
        Bench("encode", [less("over_ms", "added to a bare run of ffmpeg", "ms", 10)],
              p.encodes(), rounds=3, over="bare ffmpeg"),
        Bench("json", [more("decode", "JSON: reading 1 MB of runs, MB a second", "", 50),
                       more("encode", "JSON: writing it", "", 50)],
              p.rows("json", 4000, "jobrun asyncio node")),
        Bench("route", [less("hello", "HTTP: a text, without the socket", "us"),
                        less("json", "HTTP: a checked JSON body, without the socket", "us", 9.2)],
              p.rows("route", 30000, "jobrun")),
        Bench("queue", [more("per_s", "durable job cycles a second, 100 in flight", "", 30000),
                        less("p50_ms", "durable job cycles: a step, p50", "ms"),
                        less("p99_ms", "durable job cycles: a step, p99", "ms", 5)],
              p.queues(100)),
        Bench("queue1", [more("per_s", "durable job cycles a second, one by one", "")],
              {"jobrun": p.with_args("jobrun", "queue", 1)}),
        Bench("claim", [less("claim_us", "a claim beside 1e5 jobs of next week", "us", 100)],
              {"jobrun": p.with_args("jobrun", "claim", 100000)}),
        Bench("jobs_add", [less("add_s", "adding 1e5 jobs", "s", 0.2), less("bytes", "memory of a job", "B", 400)],
              p.schedulers("add", 100000, schedule=100000, apscheduler=20000, croner=2000, node_cron=5000,
                           node_schedule=10000)),
        Bench("jobs_dispatch", [less("us", "a start of an empty job: CPU", "us", 2)],
              p.schedulers("dispatch", 100000, schedule=100000, apscheduler=10000)),
        Bench("jobs_late1e3", [less("p50_us", "1000 starts a second: late by, p50", "us", 200),
                               less("p99_us", "1000 starts a second: late by, p99", "us", 5000),
                               less("drift_us", "1000 starts a second: drift", "us", 1)],
              p.schedulers("late", 1000, schedule=1000, apscheduler=1000, croner=1000, node_cron=1000, node_schedule=1000)),
        Bench("jobs_late1e4", [less("p99_us", "10 000 starts a second: late by, p99", "us", 10000)],
              p.schedulers("late", 10000, apscheduler=10000)),
        Bench("cron_next", [more("per_s", "next times of a cron line in a zone, a second", "", 5e5),
                            less("rare_us", "the next time of a rare one", "us", 50)],
              p.schedulers("next", 1000000, croniter=20000, apscheduler=20000, croner=20000)),
        Bench("http_hello", [less("request_us", "HTTP hello: server CPU a request", "us", 8.0),
                             more("per_s", "HTTP hello: requests a second", "", (4, "FastAPI")),
                             less("p99_us", "HTTP hello: p99 of 64 connections", "us", 2000),
                             less("server_mb", "HTTP hello: memory of the server", "MB")],
              p.servers("hello")),
        Bench("http_json", [less("request_us", "HTTP JSON: server CPU a request", "us"),
                            more("per_s", "HTTP JSON: requests a second", "", (4, "FastAPI")),
                            less("p99_us", "HTTP JSON: p99 of 64 connections", "us", 2000)],
              p.servers("json")),
        Bench("wrap", [less("over_ms", "added to a stand-in that ends at once", "ms", 10)],
              p.stand_ins(), rounds=4, over="bare stand-in", env={"STAMPS_N": "1"}),
    ]


# ---- running them ---------------------------------------------------------------------------


class Load:
    """How much of a core other processes used while ours ran."""

    def __init__(self):
        self.ours = self.elapsed = 0.0
        self.begun = self.busy()

    @staticmethod
    def busy():
        with open("/proc/stat") as stat:
            v = [int(word) for word in stat.readline().split()[1:]]
        return (v[0] + v[1] + v[2] + v[5] + v[6]) / os.sysconf("SC_CLK_TCK")

    def cores(self):
        return max(0.0, self.busy() - self.begun - self.ours) / max(self.elapsed, 1.0)


def run_once(programs, command, env, load):
    """A dict of figures, or a sentence that says how it failed."""
    report = f"{programs.scratch}/measure"
    env = {**os.environ, "UV_THREADPOOL_SIZE": "4", "LINEPROD": f"{programs.tools}/lineprod",
           "NODE_PATH": f"{programs.tools}/node_modules", **env}
    begun = time.monotonic()
    process = subprocess.Popen([f"{programs.tools}/measure", report] + command, env=env, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               errors="replace", start_new_session=True)
    try:
        out, err = process.communicate(timeout=RUN_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"took more than {RUN_LIMIT} s"
    load.elapsed += time.monotonic() - begun
    with open(report) as file:
        wall, cpu, rss_kib, status = file.read().split()
    load.ours += float(cpu)
    if int(status) != 0:
        said = [line for line in err.splitlines() if line.strip()]
        return f"failed: {said[0].strip() if said else 'status ' + status}"[:100]
    figures = {"wall": float(wall), "cpu": float(cpu), "rss_mb": int(rss_kib) / 1024}
    for pair in out.split():
        key, _, value = pair.partition("=")
        try:
            figures[key] = float(value)
        except ValueError:
            pass  # ffmpeg's own output
    figures["wall_ms"] = float(wall) * 1e3
    for key in ("p50", "p99"):
        if f"{key}_us" in figures:
            figures[f"{key}_ms"] = figures[f"{key}_us"] / 1e3
    if "lines" in figures:
        figures.setdefault("lines_per_s", figures["lines"] / float(wall))
    return figures


def run_bench(programs, bench, runs, load):
    """label → list of figures, or a sentence"""
    results = {label: [] if isinstance(row, list) else row for label, row in bench.rows.items()}
    for _ in range(runs * bench.rounds):
        for label, command in bench.rows.items():
            if isinstance(results[label], str):
                continue
            env = dict(bench.env)
            if label == "jobrun":
                env["STAMPS_CLOCK"] = "boottime"  # what its monotonic() reads
            figures = run_once(programs, command, env, load)
            if isinstance(figures, dict) and bench.lines and figures.get("lines") != bench.lines:
                bench.notes[label] = f"{figures.get('lines', 0):.0f} lines of {bench.lines}"
                if label.startswith("jobrun"):
                    figures = "wrong: " + bench.notes[label]
            if isinstance(figures, str):
                results[label] = figures
                continue
            if bench.over and results.get(bench.over, figures) != []:
                bare = figures if label == bench.over else results[bench.over][-1]
                figures["over_ms"] = figures["wall_ms"] - bare["wall_ms"]
            results[label].append(figures)
    return results


# ---- the table ------------------------------------------------------------------------------

WIDTHS = (47, 16, 10, 21, 13, 22)


def print_row(*cells):
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS)]
    print("| " + " | ".join(padded) + " |", flush=True)


def number(x):
    size = abs(x)
    if size >= 1e6:
        return f"{x / 1e6:.4g} M" if size < 1e8 else f"{x / 1e6:.0f} M"
    if size >= 1e5:
        return f"{x / 1e3:.0f} k"
    return f"{x:.0f}" if size >= 1000 else f"{x:.3g}"


def comparison(metric, value, jobruns):
    """How many times better or worse jobrun is, where both are positive."""
    if not jobruns or value <= 0 or jobruns <= 0 or metric.key == "min_us":
        return ""
    better = value / jobruns if metric.less else jobruns / value
    return f"{number(better)}x better" if better >= 1 else f"{number(1 / better)}x worse"


def bar_text(metric, label, medians, tally):
    bar = metric.bar_of(label, medians)
    if bar is None:
        return ""
    value = medians[label]
    reached = value <= bar if metric.less else value >= bar
    tally.append((metric.title, label, reached))
    limit = "never early" if metric.key == "min_us" else f"{'<=' if metric.less else '>='} {number(bar)}"
    return f"{limit}: {'reached' if reached else 'NOT REACHED'}"


def print_metric(metric, results, notes, tally):
    values = {
        label: [run[metric.key] for run in runs if metric.key in run]
        for label, runs in results.items() if not isinstance(runs, str)
    }
    medians = {label: statistics.median(v) for label, v in values.items() if v}
    title = f"{metric.title}{', ' + metric.unit if metric.unit else ''}"
    for label, runs in results.items():
        if isinstance(runs, str):
            print_row(title, label, "-", "", "", runs)
        elif label in medians:
            v = values[label]
            versus = "" if label.startswith("jobrun") else comparison(metric, medians[label], medians.get("jobrun"))
            print_row(title, label, number(medians[label]), f"{number(min(v))} .. {number(max(v))}",
                      versus, notes.get(label) or bar_text(metric, label, medians, tally))
        title = ""


def print_head(runs):
    uname = platform.uname()
    print(f"{os.cpu_count()} cores, {uname.system} {uname.release} {uname.machine}, Python {platform.python_version()}, "
          f"load {os.getloadavg()[0]:.2f}; medians of {runs} runs or more, in turn\n")
    print_row("bench", "program", "median", "min .. max", "jobrun is", "bar")
    print_row(*["-" * width for width in WIDTHS])


def print_end(tally, load, began):
    missed = [f"{title} ({label})" for title, label, reached in tally if not reached]
    print(f"\n{len(tally) - len(missed)} of {len(tally)} bars reached, in {time.monotonic() - began:.0f} s; "
          f"other processes used {load.cores():.2f} of a core meanwhile")
    for name in missed:
        print(f"  not reached: {name}")


def chosen(benches, names, peers):
    for bench in benches:
        if names and bench.name not in names:
            continue
        if peers:
            bench.rows = {label: row for label, row in bench.rows.items()
                          if any(label.startswith(peer) for peer in peers) or label == bench.over}
        if bench.rows:
            yield bench


def main():
    parser = argparse.ArgumentParser(description="jobrun beside its peers")
    parser.add_argument("tools", help="where measure, lineprod, stamps and uv_peer are")
    parser.add_argument("-b", default="", help="only these benches, by comma")
    parser.add_argument("-n", type=int, default=5, help="runs")
    parser.add_argument("-p", default="", help="only these programs (how their names begin), by comma")
    options = parser.parse_args()
    began, tally, load = time.monotonic(), [], Load()
    with tempfile.TemporaryDirectory(prefix="jobrun-bench.") as scratch:
        programs = Programs(options.tools, scratch)
        benches = make_benches(programs)
        unknown = set(filter(None, options.b.split(","))) - {bench.name for bench in benches}
        if unknown:
            print(f"no bench {', '.join(unknown)}; there are: {' '.join(bench.name for bench in benches)}")
            return
        print_head(options.n)
        for bench in chosen(benches, options.b.split(",") if options.b else [], options.p.split(",") if options.p else []):
            results = run_bench(programs, bench, options.n, load)
            for metric in bench.metrics:
                print_metric(metric, results, bench.notes, tally)
    print_end(tally, load, began)


main()
