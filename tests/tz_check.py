#!/usr/bin/env python3
"""Compares jobrun's zones with Python's zoneinfo: tz_check.py PROBE [YEARS]

Every zone installed, from 1900 to 2200. Each change of a zone: offset and abbreviation in the second before it
and at it. Between changes: a look every week. Wall times around each change: which instants they mean, by both
values of `fold`. Zones whose files are the same are asked once. Prints a line of figures; exits 1 with the first
differences found.

SPDX-License-Identifier: MIT
"""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import zoneinfo
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
NAIVE = datetime(1970, 1, 1)
SECOND = timedelta(seconds=1)
WEEK = timedelta(days=7)
FROM = datetime(1900, 1, 1, tzinfo=timezone.utc)
TO = datetime(2200, 1, 1, tzinfo=timezone.utc)
UNIQUE, GAP, OVERLAP = range(3)
MOST = 5  # differences shown of each zone


def seconds(moment):
    return (moment - EPOCH) // SECOND


class Probe:
    """The helper program, asked one question at a time."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        lines = []
        while (line := self.process.stdout.readline().strip()) != ".":
            if not line or line.startswith("error"):
                raise SystemExit(f"{' '.join(map(str, words))[:80]}: {line or 'the probe ended'}")
            lines.append(line.split())
        return lines


def offset_and_name(zone, moment):
    local = moment.astimezone(zone)
    return local.utcoffset() // SECOND, local.tzname()


def check_spans(zone, spans):
    """Both sides of each change, and every week between."""
    for i, (start, offset, abbr) in enumerate(spans):
        begin = max(EPOCH + int(start) * SECOND, FROM) if int(start) > seconds(FROM) else FROM
        end = EPOCH + int(spans[i + 1][0]) * SECOND if i + 1 < len(spans) else TO
        expected = (int(offset), abbr)
        moment = begin
        while moment < end:
            if (found := offset_and_name(zone, moment)) != expected:
                yield f"{moment}: {expected}, by Python {found}"
            moment += WEEK
        if (found := offset_and_name(zone, end - SECOND)) != expected:
            yield f"{end - SECOND}: {expected}, by Python {found}"


def walls_around(spans):
    """Wall times just before, at, within and behind the gap or overlap of each change."""
    for (_, before, _), (at, after, _) in zip(spans, spans[1:]):
        low, high = sorted((int(at) + int(before), int(at) + int(after)))
        yield from {low - 1, low, (low + high) // 2, high - 1, high, high + 1, low - 86400, high + 86400}


def instant_by_python(zone, wall, fold):
    local = (NAIVE + wall * SECOND).replace(tzinfo=zone, fold=fold)
    return wall - local.utcoffset() // SECOND


def check_wall(zone, wall, answer):
    kind, before, at, after = map(int, answer)
    first, second = instant_by_python(zone, wall, 0), instant_by_python(zone, wall, 1)
    expected = UNIQUE if first == second else GAP if first > second else OVERLAP
    if (kind, before, after) != (expected, first, second) or not min(first, second) <= at <= max(first, second):
        yield f"wall {NAIVE + wall * SECOND}: {kind} {before} {at} {after}, by Python {expected} {first} {second}"


def check_zone(probe, name):
    zone = zoneinfo.ZoneInfo(name)
    spans = probe.ask("spans", name, seconds(FROM), seconds(TO))
    faults = list(check_spans(zone, spans))
    walls = list(walls_around(spans))
    for wall, answer in zip(walls, probe.ask("walls", name, *walls)):
        faults += check_wall(zone, wall, answer)
    return [f"{name}: {fault}" for fault in faults[:MOST]], len(spans) - 1, len(walls)


def check_share(job):
    path, names = job
    probe = Probe(path)
    return [check_zone(probe, name) for name in names]


def different_zones():
    """One name of each different file below the first folder that has zones."""
    root = next(path for path in zoneinfo.TZPATH if os.path.isdir(path))
    seen = {}
    for name in sorted(zoneinfo.available_timezones()):
        with open(os.path.join(root, name), "rb") as file:
            seen.setdefault(hashlib.sha256(file.read()).digest(), name)
    return list(seen.values())


def main():
    path = sys.argv[1]
    names = different_zones()
    workers = os.cpu_count() or 1
    with multiprocessing.Pool(workers) as pool:
        shares = pool.map(check_share, [(path, names[i::workers]) for i in range(workers)])
    results = [result for share in shares for result in share]
    faults = [fault for result in results for fault in result[0]]
    print(*faults[:40], sep="\n", end="\n" if faults else "")
    print(f"{len(names)} zones, {sum(r[1] for r in results)} changes, {sum(r[2] for r in results)} wall times, "
          f"{len(faults)} differences")
    return 1 if faults or not names else 0


if __name__ == "__main__":
    sys.exit(main())
