--- The figures of the runtime itself: its loop, tasks, children, heap, ffmpeg runs and process. Those of the jobs come
--- from C as text.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.metrics"
local host = require "jobrun.core.host"
local jobs = require "jobrun.core.jobs"
local render = require "jobrun.metrics.render"

local M = {}

local function one(value, created)
  return { { labels = "", value = value, created = created } }
end

local function add_loop(add)
  local bounds, below, count, sum = core.turns()
  local series = { labels = "", bounds = bounds, count = count, sum = sum }
  for i = 1, #bounds do series[i] = below[i] - (below[i - 1] or 0) end
  add("histogram", "jobrun_loop_delay_seconds", "How long turns of the loop took, while other events had to wait.", { series })
end

local function add_log(add, started)
  local list, counts = {}, core.log_lines()
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    list[#list + 1] = { labels = ('level="%s"'):format(level), value = counts[level], created = started }
  end
  add("counter", "jobrun_log_lines", "Lines of the log.", list)
end

local function add_runtime(add, started)
  local stats = host.stats()
  add("gauge", "jobrun_jobs", "Jobs that have not ended.", one(#jobs.list()))
  add("gauge", "jobrun_tasks", "Tasks that have not ended.", one(stats.tasks))
  add("counter", "jobrun_tasks_spawned", "Tasks that were ever started.", one(stats.spawned, started))
  add("gauge", "jobrun_operations", "Operations of the outside world in flight.", one(stats.operations))
  add("gauge", "jobrun_children", "Child processes alive.", one(stats.children))
  add("gauge", "jobrun_lua_heap_bytes", "Memory of the script's Lua state.", one(math.floor(collectgarbage "count" * 1024)))
  add("gauge", "jobrun_memory_bytes", "Memory of the runtime, Lua's included.", one(stats.memory))
  local versions = ('version="%s",lua="%s",libuv="%s"'):format(core.version, core.lua:match "%d[%d.]*", core.libuv)
  add("gauge", "jobrun_build_info", "Always 1; what runs here.", { { labels = versions, value = 1 } })
end

-- Loaded only where something is served.
local function add_servers(add)
  local server = package.loaded["jobrun.http.server"]
  if not server then return end
  add("gauge", "jobrun_http_connections", "Open connections of HTTP servers.", one(server.count_connections()))
end

-- Loaded only where a script used ffmpeg.
local function add_ffmpeg(add)
  local run = package.loaded["jobrun.ffmpeg.run"]
  if not run then return end
  local ratios, speeds = {}, {}
  for one_run in pairs(run.going) do
    local p = one_run.progress.last
    local labels = ('name="%s",pid="%d"'):format(render.escape(one_run:label()), one_run.process.pid)
    if p and p.percent then ratios[#ratios + 1] = { labels = labels, value = p.percent / 100 } end
    if p and p.speed then speeds[#speeds + 1] = { labels = labels, value = p.speed } end
  end
  add("gauge", "jobrun_ffmpeg_progress_ratio", "How far an ffmpeg run is, 0 to 1.", ratios)
  add("gauge", "jobrun_ffmpeg_speed_ratio", "How fast an ffmpeg run is; 1 is real time.", speeds)
end

local PROCESS = {
  { "counter", "process_cpu_seconds", "cpu", "Processor time in seconds." },
  { "gauge", "process_open_fds", "fds", "Open file descriptors." },
  { "gauge", "process_max_fds", "max_fds", "Most file descriptors it may open." },
  { "gauge", "process_virtual_memory_bytes", "virtual", "Virtual memory in bytes." },
  { "gauge", "process_resident_memory_bytes", "resident", "Resident memory in bytes." },
  { "gauge", "process_start_time_seconds", "started", "When the process started, in seconds since 1970." },
  { "gauge", "process_threads", "threads", "Threads of the process." },
}

local function add_process(add, values)
  for _, row in ipairs(PROCESS) do
    if values[row[3]] then add(row[1], row[2], row[4], one(values[row[3]], values.started)) end
  end
end

---@param add fun(type: string, name: string, help: string, series: table[])
---@param dropped table<string, integer> observations left out, by metric
function M.collect(add, dropped)
  local process = core.process()
  add_runtime(add, process.started)
  add_loop(add)
  add_log(add, process.started)
  add_servers(add)
  add_ffmpeg(add)
  add_process(add, process)
  local list = {}
  for name, n in pairs(dropped) do list[#list + 1] = { labels = ('metric="%s"'):format(name), value = n } end
  table.sort(list, function(a, b) return a.labels < b.labels end)
  add("counter", "jobrun_metrics_dropped", "Observations left out as their metric has too many series.", list)
end

return M
