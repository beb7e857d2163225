// fluent_peer.js report|storm COMMAND..., or encode SOURCE OUTPUT: following ffmpeg with fluent-ffmpeg, the
// wrapper most scripts for Node use. It reads stderr. NODE_PATH leads to it.
//
// SPDX-License-Identifier: MIT
"use strict";

const ffmpeg = require("fluent-ffmpeg");

const [bench, first, second] = process.argv.slice(2);
const latencies = [];
let lines = 0;

function onLine(line) {
  const at = process.hrtime.bigint();
  if (line !== "") lines++;
  const words = line.split(" ");
  if (words[0] === "T") latencies.push(Number(at - BigInt(words[2])) / 1e3);
}

function end() {
  const use = process.resourceUsage();
  const values = { lines, cpu: (use.userCPUTime + use.systemCPUTime) / 1e6 };
  if (bench === "report") {
    latencies.sort((a, b) => a - b);
    values.p50_us = latencies[latencies.length >> 1];
    values.p99_us = latencies[Math.floor(latencies.length * 0.99)];
  }
  console.log(Object.entries(values).map(([key, value]) => `${key}=${value}`).join(" "));
}

function encode(source, output) {
  return ffmpeg({ stdoutLines: 0 }).input(source).inputOptions(["-re", "-f", "lavfi"]).videoCodec("libx264")
    .outputOptions(["-preset", "ultrafast", "-threads", "1"]).output(output);
}

function standIn(program) {
  return ffmpeg({ stdoutLines: 0 }).setFfmpegPath(program).input("/dev/null").output("/dev/null");
}

const command = bench === "encode" ? encode(first, second) : standIn(first);
command.on("stderr", onLine).on("end", end).on("error", (e) => {
  console.error(e.message);
  process.exit(1);
}).run();
