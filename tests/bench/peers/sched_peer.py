"""sched_peer.py LIBRARY BENCH N: the scheduler benches of ../bench.py on schedule, apscheduler and croniter.

SPDX-License-Identifier: MIT"""
import datetime
import logging
import sys
import time
import zoneinfo

now = time.time
ZONE = "America/New_York"
DENSE, RARE = "*/5 * * * *", "0 0 29 2 1"  # the second: a leap day or any Monday of February


def out(**values):
    print(" ".join(f"{key}={value:.6g}" for key, value in values.items()), flush=True)


def rss():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def spread(seconds):
    seconds.sort()
    n = len(seconds)
    return {"p50_us": seconds[n // 2] * 1e6, "p99_us": seconds[n * 99 // 100] * 1e6, "runs": n}


def nothing():
    pass


class Schedule:
    def __init__(self):
        import schedule
        self.library = schedule

    def add(self, n):
        before, begun = rss(), now()
        for _ in range(n):
            self.library.every(3600).seconds.do(nothing)
        out(add_s=(now() - begun) * 1e5 / n, bytes=(rss() - before) / n)

    def dispatch(self, n):
        for _ in range(n):
            self.library.every(3600).seconds.do(nothing)
        past = datetime.datetime.now() - datetime.timedelta(seconds=1)
        for job in self.library.get_jobs():
            job.next_run = past
        begun = time.process_time()
        self.library.run_pending()
        out(us=(time.process_time() - begun) / n * 1e6)

    def late(self, n):
        lateness, jobs = [], []

        def run(i):
            lateness.append(now() - jobs[i].next_run.timestamp())

        begin = datetime.datetime.now() + datetime.timedelta(seconds=1)
        for i in range(n):
            jobs.append(self.library.every(1).second.do(run, i))
            jobs[i].next_run = begin + datetime.timedelta(seconds=i / n)
        end = now() + 4
        while now() < end:
            self.library.run_pending()
            time.sleep(0.001)
        out(**spread(lateness))


class APScheduler:
    def __init__(self):
        from apscheduler.schedulers.background import BackgroundScheduler
        logging.disable(logging.CRITICAL)
        self.scheduler = BackgroundScheduler(timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": False})

    def add(self, n):
        self.scheduler.start()
        before, begun = rss(), now()
        for _ in range(n):
            self.scheduler.add_job(nothing, "interval", seconds=36000)
        out(add_s=(now() - begun) * 1e5 / n, bytes=(rss() - before) / n)

    def dispatch(self, n):
        ran = []
        due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1 + n / 2000)
        for _ in range(n):
            self.scheduler.add_job(ran.append, "date", args=[1], run_date=due)
        self.scheduler.start()
        while now() < due.timestamp() - 0.1:
            time.sleep(0.01)
        before = time.process_time()
        while len(ran) < n:
            time.sleep(0.01)
        out(us=(time.process_time() - before) / n * 1e6)

    def late(self, n):
        lateness, plans = [], []

        def run(i):
            lateness.append(now() - plans[i])
            plans[i] += 1

        begin = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2 + n / 2000)
        for i in range(n):
            start = begin + datetime.timedelta(seconds=i / n)
            plans.append(start.timestamp())
            self.scheduler.add_job(run, "interval", args=[i], seconds=1, start_date=start)
        self.scheduler.start()
        time.sleep(max(0, begin.timestamp() - now()) + 3)
        out(**spread(lateness))

    def next(self, n):
        from apscheduler.triggers.cron import CronTrigger
        zone = zoneinfo.ZoneInfo(ZONE)

        def rate(line, count):
            trigger, at = CronTrigger.from_crontab(line, timezone=zone), datetime.datetime(2025, 1, 1, tzinfo=zone)
            begun = now()
            for _ in range(count):
                at = trigger.get_next_fire_time(at, at) + datetime.timedelta(seconds=1)
            return count / (now() - begun)

        out(per_s=rate(DENSE, n), rare_us=1e6 / rate(RARE, max(1, n // 100)))


class Croniter:
    def next(self, n):
        from croniter import croniter
        zone = zoneinfo.ZoneInfo(ZONE)

        def rate(line, count):
            it = croniter(line, datetime.datetime(2025, 1, 1, tzinfo=zone))
            begun = now()
            for _ in range(count):
                it.get_next(datetime.datetime)
            return count / (now() - begun)

        out(per_s=rate(DENSE, n), rare_us=1e6 / rate(RARE, max(1, n // 100)))


library = {"schedule": Schedule, "apscheduler": APScheduler, "croniter": Croniter}[sys.argv[1]]()
getattr(library, sys.argv[2])(int(sys.argv[3]))
sys.stdout.flush()
import os  # noqa: E402

os._exit(0)  # its threads may still run
