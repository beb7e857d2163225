"""queue_peer.py LIBRARY IN_FLIGHT NODE_MODULES: queue_peer.js beside a server of its own.

The server is started in a folder of its own, on a unix socket, with what it needs for "acknowledged is on disk", and
ended again. PostgreSQL refuses to run as root: then it is another user's.

SPDX-License-Identifier: MIT"""
import glob
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def find(name):
    return shutil.which(name) or glob.glob(f"/usr/lib/postgresql/*/bin/{name}")[0]


def redis(folder):
    socket = f"{folder}/s"
    command = [find("redis-server"), "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", "",
               "--appendonly", "yes", "--appendfsync", "always"]
    return command, {}, socket, socket


def postgres(folder):
    user = {}
    if os.getuid() == 0:
        user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid}
        shutil.chown(folder, "nobody")
    subprocess.run([find("initdb"), "-D", f"{folder}/data", "-U", "postgres", "-A", "trust"], check=True,
                   stdout=subprocess.DEVNULL, cwd=folder, **user)
    command = [find("postgres"), "-D", f"{folder}/data", "-k", folder, "-c", "listen_addresses="]
    return command, user, f"{folder}/.s.PGSQL.5432", f"socket://postgres@{folder}?db=postgres"


def main():
    library, n, modules = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="jobrun-bench.") as folder:
        command, user, ready, url = (redis if library == "bullmq" else postgres)(folder)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **user) as server:
            try:
                for _ in range(200):
                    if os.path.exists(ready) or server.poll() is not None:
                        break
                    time.sleep(0.05)
                else:
                    sys.exit(f"{command[0]} did not come up")
                subprocess.run(["node", f"{HERE}/queue_peer.js", library, n, url], check=True, timeout=40,
                               env={**os.environ, "NODE_PATH": modules})
            finally:
                server.send_signal(signal.SIGINT)


main()
