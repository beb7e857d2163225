// node_peer.js BENCH [N | COMMAND...]: the benches of ../bench.py on Node.
//
// SPDX-License-Identifier: MIT
"use strict";
const { spawn } = require("child_process");
const { createInterface } = require("readline");
const { Worker } = require("worker_threads");

const now = () => performance.now() / 1e3;
const rss = () => +require("fs").readFileSync("/proc/self/statm", "utf8").split(" ")[1] * 4096;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const turn = () => new Promise((done) => setImmediate(done));
const times = (n, f) => Promise.all(Array.from({ length: n }, (_, i) => f(i)));

function cpu() {
  const use = process.cpuUsage();
  return (use.user + use.system) / 1e6;
}

function out(values) {
  console.log(Object.entries(values).map(([key, value]) => `${key}=${+value.toPrecision(6)}`).join(" "));
}

function spread(us) {
  if (us.length === 0) return {};
  const all = Float64Array.from(us).sort();
  const n = all.length;
  return { min_us: all[0], p50_us: all[n >> 1], p99_us: all[Math.floor(n * 0.99)], max_us: all[n - 1] };
}

// A pool of worker threads over their message ports; one call at a time each.
class Pool {
  constructor(size, source) {
    this.waiting = [];
    this.workers = Array.from({ length: size }, () => new Worker(source, { eval: true }));
    this.idle = [...this.workers];
    for (const worker of this.workers) worker.on("message", (value) => this.finish(worker, value));
  }
  finish(worker, value) {
    const done = worker.done;
    const next = this.waiting.shift();
    if (next) this.start(worker, next);
    else this.idle.push(worker);
    done(value);
  }
  start(worker, { value, done }) {
    worker.done = done;
    worker.postMessage(value);
  }
  call(value) {
    return new Promise((done) => {
      const worker = this.idle.pop();
      if (worker) this.start(worker, { value, done });
      else this.waiting.push({ value, done });
    });
  }
  close() {
    return Promise.all(this.workers.map((worker) => worker.terminate()));
  }
}

const ADD = `const { parentPort: port } = require("worker_threads");
port.on("message", ([a, b]) => port.postMessage(a + b));`;
const BLOCK = `const { parentPort: port } = require("worker_threads");
port.on("message", (ms) => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  port.postMessage(0);
});`;

function child() {
  return new Promise((done, fail) => {
    spawn("/bin/true", [], { stdio: "inherit" }).on("exit", done).on("error", fail);
  });
}

async function runProcesses(n, atOnce) {
  let left = n;
  const begun = now();
  await times(atOnce, async () => {
    while (left > 0) {
      left--;
      await child();
    }
  });
  const spent = now() - begun;
  out({ per_s: n / spent, ms: (spent / n) * 1e3 });
}

// Runs an encoder and reads its stderr; prints the figures when both have ended.
function follow([program, ...args], latencies, onLine) {
  let count = 0, waits = 2;
  const end = () => { if (--waits === 0) out({ lines: count, cpu: cpu(), ...spread(latencies) }); };
  const encoder = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] }).on("exit", end);
  createInterface({ input: encoder.stderr, crlfDelay: Infinity })
    .on("line", (line) => { count++; onLine(line); })
    .on("close", end);
}

const benches = {
  async spawn(n) {
    const noop = async () => {};
    const begun = now();
    for (let i = 0; i < n / 1000; i++) await times(1000, noop);
    out({ per_s: n / (now() - begun) });
  },
  async switch(n) {
    const begun = now();
    await times(100, async () => {
      for (let i = 0; i < n / 100; i++) await turn();
    });
    out({ ns: ((now() - begun) / n) * 1e9 });
  },
  async alive(n) {
    const before = rss();
    const tasks = [];
    const task = async () => { await sleep(2 ** 30); };
    for (let i = 0; i < n; i++) tasks.push(task());
    await turn();
    out({ bytes: (rss() - before) / tasks.length });
    process.exit(0);
  },
  async sleep(n) {
    const late = [];
    let x = 12345;
    const one = async (ms) => {
      const begun = performance.now();
      await sleep(ms);
      late.push((performance.now() - begun - ms) * 1e3);
    };
    const begun = now();
    await times(n, () => one((x = (x * 16807) % 2147483647) % 1000));
    out({ wall: now() - begun, cpu: cpu(), ...spread(late) });
  },
  async trip(n) {
    const pool = new Pool(4, ADD);
    for (let i = 0; i < 100; i++) await pool.call([1, i]);
    const begun = now();
    for (let i = 0; i < n; i++) await pool.call([1, i]);
    out({ us: ((now() - begun) / n) * 1e6 });
    await pool.close();
  },
  async calls(n) {
    const pool = new Pool(4, ADD);
    await times(4, (i) => pool.call([1, i]));
    const begun = now();
    for (let k = 0; k < n / 1000; k++) await times(1000, (i) => pool.call([1, i]));
    out({ per_s: n / (now() - begun) });
    await pool.close();
  },
  async nine(n) {
    const pool = new Pool(3, BLOCK);
    const begun = now();
    await times(n, () => pool.call(300));
    out({ wall: now() - begun });
    await pool.close();
  },
  exec: (n) => runProcesses(n, 1),
  exec8: (n) => runProcesses(n, 8),
  async exec_1gb(n) {
    const ballast = Buffer.alloc(2 ** 30, 1);
    await runProcesses(n, 1);
    ballast.fill(0, 0, 1);
  },
  lines(n) {
    const begun = now();
    let count = 0;
    const producer = spawn(process.env.LINEPROD, [`${n}`], { stdio: ["ignore", "pipe", "inherit"] });
    createInterface({ input: producer.stdout, crlfDelay: Infinity })
      .on("line", () => count++)
      .on("close", () => out({ lines_per_s: count / (now() - begun), lines: count }));
  },
  report(...command) {
    const latencies = [];
    follow(command, latencies, (line) => {
      const at = process.hrtime.bigint();
      const words = line.split(" ");
      if (words[0] === "T") latencies.push(Number(at - BigInt(words[2])) / 1e3);
    });
  },
  storm: (...command) => follow(command, [], () => {}),
};

// n runs of a job, as jobrun.lua has them.
const documents = (n) => times(n, (i) => ({
  id: i, job: "encode-" + i, started: "2026-11-26T10:00:00.123Z", duration: i / 7, status: "ok", exit_code: 0,
  tags: ["nightly", "archive", "av1"], progress: { frame: i * 25, fps: 29.97, speed: 1.5, done: true },
  log: 'line one\nline "two" café 日本語 /srv/media/in.mp4 -> /srv/media/out.mkv',
}));

benches.json = async (n) => {
  const runs = await documents(n);
  const text = JSON.stringify(runs), bytes = Buffer.byteLength(text);
  const rate = (fn, arg) => {
    let best = Infinity;
    for (let i = 0; i < 10; i++) {
      const begun = now();
      fn(arg);
      best = Math.min(best, now() - begun);
    }
    return bytes / best / 1e6;
  };
  out({ decode: rate(JSON.parse, text), encode: rate(JSON.stringify, runs) });
};

const [name, ...args] = process.argv.slice(2);
benches[name](...(["report", "storm"].includes(name) ? args : args.map(Number)));
