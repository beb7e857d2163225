// queue_peer.js LIBRARY IN_FLIGHT URL: durable job cycles, as jobrun's bench `queue` does them: add a job, wait until it is on
// disk, wait until a worker of this process has done it; so many at a time, for 3 s. A step is one of the two waits.
//
// SPDX-License-Identifier: MIT
"use strict";
const [library, inFlight, url] = process.argv.slice(2);
const n = +inFlight;
const waiting = new Map(); // job → called when it is done
const done = (key) => waiting.get(key)();

const libraries = {
  // The settings its performance page names for a high throughput.
  async "graphile-worker"() {
    const { run, makeWorkerUtils, Logger } = require("graphile-worker");
    const { Pool } = require("pg");
    const logger = new Logger(() => () => {});
    const pgPool = new Pool({ connectionString: url, max: 30 });
    pgPool.on("error", () => {});
    const preset = {
      worker: {
        concurrentJobs: 24, localQueue: { size: 500, refetchDelay: { durationMs: 10 } }, completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    };
    const utils = await makeWorkerUtils({ preset, pgPool, logger });
    await utils.migrate();
    await run({ preset, pgPool, logger, noHandleSignals: true, taskList: { job: ({ key }) => done(key) } });
    return (key) => utils.addJob("job", { key, file: "/srv/in/0001.mp4" });
  },
  async bullmq() {
    const { Queue, Worker } = require("bullmq");
    const connection = { path: url, maxRetriesPerRequest: null };
    const queue = new Queue("bench", { connection, defaultJobOptions: { removeOnComplete: true } });
    const worker = new Worker("bench", async (job) => done(job.data.key), { connection, concurrency: n });
    await worker.waitUntilReady();
    return (key) => queue.add("job", { key, file: "/srv/in/0001.mp4" });
  },
};

async function main() {
  const add = await libraries[library]();
  const steps = [];
  const begun = performance.now();
  let cycles = 0;
  const cycle = async (key) => {
    const ended = new Promise((resolve) => waiting.set(key, resolve));
    const t0 = performance.now();
    await add(key);
    const t1 = performance.now();
    await ended;
    steps.push(t1 - t0, (performance.now() - t1) / 2);
    waiting.delete(key);
    cycles++;
  };
  await Promise.all(Array.from({ length: n }, async (_, i) => {
    for (let k = 0; performance.now() < begun + 3000; k++) await cycle(`${i}.${k}`);
  }));
  const seconds = (performance.now() - begun) / 1e3;
  steps.sort((a, b) => a - b);
  const us = (share) => Math.round(steps[Math.floor(share * (steps.length - 1))] * 1e3);
  console.log(`per_s=${Math.round(cycles / seconds)} p50_us=${us(0.5)} p99_us=${us(0.99)}`);
  process.exit(0);
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
