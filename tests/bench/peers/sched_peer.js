// sched_peer.js LIBRARY BENCH N: the scheduler benches of ../bench.py on croner, node-cron and node-schedule.
//
// SPDX-License-Identifier: MIT
"use strict";
const [library, bench, count] = process.argv.slice(2);
const n = +count;
const module_ = require(library);
const rss = () => +require("fs").readFileSync("/proc/self/statm", "utf8").split(" ")[1] * 4096;

const start = {
  croner: (line, f) => new module_.Cron(line, f),
  "node-cron": (line, f) => (module_.default || module_).schedule(line, f),
  "node-schedule": (line, f) => module_.scheduleJob(line, f),
}[library];

function out(values) {
  console.log(Object.entries(values).map(([key, value]) => `${key}=${+value.toPrecision(6)}`).join(" "));
  process.exit(0);
}

const benches = {
  add() {
    const before = rss(), begun = performance.now();
    for (let i = 0; i < n; i++) start(`0 ${i % 60} 3 1 1 *`, () => {});
    out({ add_s: ((performance.now() - begun) / 1e3) * (1e5 / n), bytes: (rss() - before) / n });
  },
  // Every job wants each whole second: a start's lateness is the time since it.
  late() {
    const late = [];
    let on = false;
    for (let i = 0; i < n; i++) start("* * * * * *", () => on && late.push((Date.now() % 1000) * 1e3));
    setTimeout(() => {
      on = true;
      setTimeout(() => {
        late.sort((a, b) => a - b);
        out({ p50_us: late[late.length >> 1], p99_us: late[Math.floor(late.length * 0.99)], runs: late.length });
      }, 3000);
    }, 1995 - (Date.now() % 1000));
  },
  next() {
    const rate = (line, times) => {
      const cron = new module_.Cron(line, { timezone: "America/New_York", paused: true });
      let at = new Date("2025-01-01T00:00:00Z");
      const begun = performance.now();
      for (let i = 0; i < times; i++) at = cron.nextRun(at);
      return times / ((performance.now() - begun) / 1e3);
    };
    out({ per_s: rate("*/5 * * * *", n), rare_us: 1e6 / rate("0 0 29 2 1", Math.max(1, n / 100)) });
  },
};
benches[bench]();
