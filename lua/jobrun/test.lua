--- `jobrun test [PATHS]`: finds luaunit suites (*_test.lua), runs each in a process of its own, two at a
--- time, and ends with the line "N passed, N failed, N skipped".
---
--- A suite whose first line is `-- jobrun: OPTIONS` is run with those options of the command, such as
--- --clock=virtual.
--
-- SPDX-License-Identifier: MIT

local M = {}

local PARALLEL = 2

-- ---- one suite, in its own process -------------------------------------------------------------

local function is_test(name)
  return not name:find("[sS]et_?[uU]p$") and not name:find("[tT]ear_?[dD]own$")
end

local function load_luaunit()
  package.path = package.path .. ";/usr/share/lua/5.4/?.lua;/usr/share/lua/5.3/?.lua;/usr/share/lua/5.1/?.lua"
  local ok, lu = pcall(require, "luaunit")
  if not ok then
    require("jobrun.check").fail("luaunit is not installed (Debian: apt-get install lua-unit)\n%s", lu)
  end
  return lu
end

---Runs the suite in `path` and prints its counts as the last line.
---@param path string
---@param ... string luaunit's options, such as a pattern
function M.run_file(path, ...)
  local lu = load_luaunit()
  local testing = require "jobrun.testing"
  _G.luaunit = lu
  local chunk = assert(loadfile(path))
  chunk()
  local runner = lu.LuaUnit.new()
  local protected_call = runner.protectedCall
  function runner:protectedCall(instance, method, name)
    if not is_test(name) then return protected_call(self, instance, method, name) end
    return protected_call(self, instance, function(...) return testing.run(method, ...) end, name)
  end
  runner:runSuite("--output", "text", ...)
  local result = runner.result
  local failed = result.failureCount + result.errorCount
  print(("%d passed, %d failed, %d skipped"):format(result.successCount, failed, result.skippedCount))
  os.exit(failed == 0) -- also where a server the suite has made still listens
end

-- ---- all suites ----------------------------------------------------------------------------------

local function suites_of(path)
  local fail = require("jobrun.check").fail
  local file = io.open(path)
  if not file then
    fail("test: no file or folder '%s'%s", path, path:find "^%-" and " (luaunit's options go behind --)" or "")
  end
  file:close()
  if path:find("%.lua$") then return { path } end
  local found = {}
  local find = io.popen(("find '%s' -name '*_test.lua' | sort"):format((path:gsub("'", "'\\''"))))
  for line in find:lines() do found[#found + 1] = line end
  find:close()
  return found
end

local function collect(paths)
  local suites = {}
  for _, path in ipairs(paths) do
    for _, suite in ipairs(suites_of(path)) do suites[#suites + 1] = suite end
  end
  return suites
end

-- The command that runs one suite, with the options of its first line.
local function command_of(path, options)
  local file, why = io.open(path)
  if not file then require("jobrun.check").fail("%s", why) end
  local own = (file:read("l") or ""):match("^%-%- jobrun: (.*)") or ""
  file:close()
  local argv = { M.program }
  for option in own:gmatch("%S+") do argv[#argv + 1] = option end
  argv[#argv + 1] = "--stall=60" -- a loop without end is a failure too
  argv[#argv + 1] = "-e"
  argv[#argv + 1] = 'require("jobrun.test").run_file(...)'
  argv[#argv + 1] = path
  for _, option in ipairs(options) do argv[#argv + 1] = option end
  return argv
end

local function run_suite(path, options, total)
  local exec = require("jobrun").exec
  local argv = command_of(path, options)
  local lines, passed, failed, skipped = {}, nil, nil, nil
  local function keep(line)
    lines[#lines + 1] = line
    local p, f, s = line:match("^(%d+) passed, (%d+) failed, (%d+) skipped$")
    if p then passed, failed, skipped = tonumber(p), tonumber(f), tonumber(s) end
  end
  argv.on_line, argv.on_stderr, argv.check = keep, keep, false
  local ok, r = pcall(exec, argv)
  if not ok then -- the run was stopped: what it cut off has not passed
    total.failed = total.failed + 1
    error(r, 0)
  end
  if not passed or (r.exit_code ~= 0 and failed == 0) then
    passed, failed, skipped = passed or 0, (failed or 0) + 1, skipped or 0
    local how = r.signal or "exit status " .. tostring(r.exit_code)
    lines[#lines + 1] = "the suite's process ended with " .. how
  end
  if failed > 0 then print(table.concat(lines, "\n")) end
  print(("%s: %d passed, %d failed, %d skipped (%.1f s)"):format(path, passed, failed, skipped, r.elapsed))
  total.passed, total.failed, total.skipped = total.passed + passed, total.failed + failed, total.skipped + skipped
end

---The command: paths of suites or of directories (default "tests"); what follows `--` goes to luaunit.
---@param ... string
function M.main(...)
  local task = require "jobrun.task"
  local paths, options, rest = {}, {}, false
  for _, word in ipairs { ... } do
    if word == "--" then
      rest = true
    else
      table.insert(rest and options or paths, word)
    end
  end
  if #paths == 0 then paths = { "tests" } end
  local suites = collect(paths)
  local total = { passed = 0, failed = 0, skipped = 0 }
  local next_suite = 0
  local ok, e = pcall(task.scope, function()
    for _ = 1, PARALLEL do
      task.spawn(function()
        while next_suite < #suites do
          next_suite = next_suite + 1
          run_suite(suites[next_suite], options, total)
        end
      end)
    end
  end)
  print(("%d passed, %d failed, %d skipped"):format(total.passed, total.failed, total.skipped))
  if not ok then error(e, 0) end
  if total.passed + total.failed + total.skipped == 0 then
    print("no test was found in " .. table.concat(paths, ", "))
    os.exit(1)
  end
  if total.failed > 0 then os.exit(1) end
end

-- /proc/self/exe is the command that runs this.
do
  local link = io.popen("readlink /proc/$PPID/exe")
  M.program = link:read("l")
  link:close()
end

return M
