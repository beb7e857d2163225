"""serve.py ROUTE SERVER...: one line of figures of an HTTP server under wrk: 64 connections, 3 s.

SERVER is its command; PORT in it becomes a free port. The server has one core and wrk the other.
CPU is the server's and its children's, counted over the run.

SPDX-License-Identifier: MIT"""
import os
import re
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit("the server did not come up")


def processes(group):
    pids = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            pids.append((name, int(fields[11]) + int(fields[12]), int(fields[21]) * 4096))
    return pids


def cpu(group):
    return sum(ticks for _, ticks, _ in processes(group)) / TICKS


def microseconds(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def load(port, route, seconds):
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{seconds}s", "--latency"]
    if route == "json":
        command += ["-s", f"{HERE}/serve/json.lua"]
    out = subprocess.run(command + [f"http://127.0.0.1:{port}/{route}"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit("wrk: " + out.strip().splitlines()[-3])
    return out


def main():
    route, port = sys.argv[1], free_port()
    command = ["taskset", "-c", "0"] + [word.replace("PORT", str(port)) for word in sys.argv[2:]]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=f"{HERE}/serve")
    try:
        wait_for(port)
        load(port, route, 1)
        before = cpu(server.pid)
        out = load(port, route, 3)
        used, rss = cpu(server.pid) - before, sum(rss for _, _, rss in processes(server.pid))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    requests = int(re.search(r"(\d+) requests in", out)[1])
    p99 = microseconds(re.search(r"99%\s+(\S+)", out)[1])
    per_s = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    print(f"request_us={used / requests * 1e6:.4g} per_s={per_s:.6g} p99_us={p99:.5g} server_mb={rss / 1e6:.4g}")


main()
