#!/usr/bin/env python3
"""Compares jobrun's zones with Python's zoneinfo: tz_check.py PROBE [PART PARTS]

Every zone installed, from 1900 to 2200. Each change of a zone: offset and abbreviation in the second before it
and at it. Between changes: a look every two weeks. Wall times around each change: which instants they mean, by both
values of `fold`. And two cron lines around each change, one of fixed times and a wildcard one, against the two
rules as the manual has them. Zones whose files are the same are asked once. Prints a line of figures; exits 1
with the first differences found.

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
FORTNIGHT = timedelta(days=14)
FROM = datetime(1900, 1, 1, tzinfo=timezone.utc)
TO = datetime(2200, 1, 1, tzinfo=timezone.utc)
UNIQUE, GAP, OVERLAP = range(3)
DAY = 86400
OFTEN = 946684800  # 2000; from then on most changes are those of a rule, and one in 11 does for cron lines
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
    """Both sides of each change, and every two weeks between."""
    for i, (start, offset, abbr) in enumerate(spans):
        begin = max(EPOCH + int(start) * SECOND, FROM) if int(start) > seconds(FROM) else FROM
        end = EPOCH + int(spans[i + 1][0]) * SECOND if i + 1 < len(spans) else TO
        expected = (int(offset), abbr)
        moment = begin
        while moment < end:
            if (found := offset_and_name(zone, moment)) != expected:
                yield f"{moment}: {expected}, by Python {found}"
            moment += FORTNIGHT
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


def shows(zone, instant, wall):
    return instant + (EPOCH + instant * SECOND).astimezone(zone).utcoffset() // SECOND == wall


def passes(zone, wall):
    """The instants at which the wall clock shows a time: none, one or two."""
    return {t for t in (instant_by_python(zone, wall, 0), instant_by_python(zone, wall, 1)) if shows(zone, t, wall)}


def walls_of(at, offset, hours, minutes, second):
    """The wall times of a line within two days of a change."""
    midnight = (at + offset) // DAY * DAY
    return [midnight + day * DAY + hour * 3600 + minute * 60 + second
            for day in range(-2, 3) for hour in hours for minute in minutes]


def fixed_times(zone, changes, walls):
    """At the end of a gap, unless the whole day is missing; the first of two."""
    for wall in walls:
        if instants := passes(zone, wall):
            yield min(instants)
        else:
            at, before, after = next(c for c in changes if c[0] + c[1] <= wall < c[0] + c[2])
            midnight = wall // DAY * DAY
            if midnight < at + before or midnight + DAY > at + after:
                yield at


def check_line(probe, name, line, at, expected):
    found = [int(t) for t, in probe.ask("cron", name, at - DAY, at + DAY, line)]
    expected = sorted({t for t in expected if at - DAY < t <= at + DAY})
    if found != expected:
        yield f"{line} around {EPOCH + at * SECOND}: {found}, expected {expected}"


def check_cron(probe, name, zone, changes):
    for i, (at, before, after) in enumerate(changes):
        if before == after or (at > OFTEN and i % 11):
            continue
        second = (at + min(before, after) + abs(after - before) // 2) % DAY
        hours, minute, second = sorted({(second // 3600 + k) % 24 for k in range(3)}), second // 60 % 60, second % 60
        line = f"{minute} {','.join(map(str, hours))} * * *"
        walls = walls_of(at, before, hours, [minute], second)
        yield from check_line(probe, name, f"{second} {line}", at, fixed_times(zone, changes, walls))
        walls = walls_of(at, before, hours, (0, 30), second)
        line = f"{second} */30 {','.join(map(str, hours))} * * *"
        yield from check_line(probe, name, line, at, (t for wall in walls for t in passes(zone, wall)))


def check_zone(probe, name):
    zone = zoneinfo.ZoneInfo(name)
    spans = probe.ask("spans", name, seconds(FROM), seconds(TO))
    faults = list(check_spans(zone, spans))
    walls = list(walls_around(spans))
    for wall, answer in zip(walls, probe.ask("walls", name, *walls)):
        faults += check_wall(zone, wall, answer)
    changes = [(int(b[0]), int(a[1]), int(b[1])) for a, b in zip(spans, spans[1:])]
    faults += check_cron(probe, name, zone, changes)
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
    path, part, parts = sys.argv[1], int((sys.argv[2:] or [1])[0]), int((sys.argv[3:] or [1])[0])
    names = different_zones()[part - 1::parts]
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
