-- One schema and one text of each statement for both engines: PostgreSQL takes all of them. Needs its server, which it
-- starts in a folder of its own; SQLite takes them in store_test.lua.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local exec, fs = jobrun.exec, jobrun.fs

local build = assert(os.getenv "JOBRUN_BUILD")

-- The folder of its programs, or nil.
local function find_postgres()
  local r = exec { "sh", "-c", "ls -d /usr/lib/postgresql/*/bin/ 2>/dev/null | tail -n 1" }
  local folder = r.stdout:gsub("\n$", "")
  return folder ~= "" and fs.exists(folder .. "initdb") and fs.exists(folder .. "psql") and folder or nil
end

-- PostgreSQL does not run as root.
local function as_somebody(argv)
  if exec({ "id", "-u" }).stdout ~= "0\n" then return argv end
  return { "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", table.unpack(argv) }
end

local function with_server(bin, fn)
  local dir = exec({ "mktemp", "-d" }).stdout:gsub("\n$", "")
  exec { "chmod", "777", dir }
  exec(as_somebody { bin .. "initdb", "-D", dir .. "/data", "-U", "postgres", "-A", "trust", "--no-sync" })
  local argv = as_somebody { bin .. "postgres", "-D", dir .. "/data", "-k", dir, "-c", "listen_addresses=" }
  argv.check, argv.on_stderr = false, function() end
  local server = exec.start(argv)
  local ok, e = pcall(function()
    testing.wait_for(function() return exec({ bin .. "pg_isready", "-q", "-h", dir, check = false }).exit_code == 0 end, 20)
    fn(function(sql)
      local r = exec { bin .. "psql", "-h", dir, "-U", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1", stdin = sql,
        check = false }
      return r.exit_code == 0, r.stderr
    end)
  end)
  server:signal "SIGINT"
  server:wait()
  fs.remove(dir, { recursive = true })
  if not ok then error(e, 0) end
end

function test_postgresql_takes_the_schema_and_each_statement()
  local bin = find_postgres()
  if not bin then lu.skip "needs postgresql: apt-get install postgresql" end
  local types = { I64 = "BIGINT", BIN = "BYTEA", TAIL = "", KEYED = "" }
  with_server(bin, function(run)
    lu.assertEquals({ run((fs.read("src/schema.sql"):gsub("%u+%d*", types))) }, { true, "" })
    local n = 0
    for line in exec({ build .. "/tests/dumpsql" }).stdout:gmatch "[^\n]+" do
      local name, text = line:match "^(.-)\t(.*)$"
      local ok, why = run(("PREPARE s AS %s;"):format(text:gsub("%?(%d+)", "$%1")))
      lu.assertTrue(ok, name .. ": " .. why)
      n = n + 1
    end
    lu.assertTrue(n > 40)
  end)
end
