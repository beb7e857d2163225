-- What is installed is what a host program needs: a header for C and C++, the library, shared and
-- static, and the flags that pkg-config tells.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local sh, fs = jobrun.sh, jobrun.fs

local build = os.getenv "JOBRUN_BUILD" or "build"
local env = { MAKEFLAGS = false, MAKELEVEL = false, MFLAGS = false }

local function run(command)
  local r = sh(command, { check = false, env = env })
  lu.assertEquals(r.exit_code, 0, command .. "\n" .. r.stdout .. r.stderr)
  return (r.stdout:gsub("\n$", ""))
end

local function needs(program)
  if not sh("command -v " .. program, { check = false }).ok then lu.skip(program .. " is not installed") end
end

-- Installs by way of DESTDIR, then puts it where PREFIX says, as a package does:
-- {dir=, prefix=, flags(options)}.
local function install()
  if sh("nm -A " .. build .. "/libjobrun.a | grep -q '__[at]san_'", { check = false }).ok then
    lu.skip "a host would have to be built with the sanitizers too"
  end
  local tree = { dir = testing.tmpdir() }
  tree.prefix = tree.dir .. "/opt"
  run(("make -s install B=%s PREFIX=%s DESTDIR=%s/root"):format(build, tree.prefix, tree.dir))
  run(("mv %s/root%s %s"):format(tree.dir, tree.prefix, tree.prefix))
  function tree.flags(options)
    return run(("PKG_CONFIG_PATH=%s/lib/pkgconfig pkg-config %s jobrun"):format(tree.prefix, options))
  end
  return tree
end

local USES_ALL_OF_IT = [[
#include "jobrun.h"
static int each(void *data, const jobrun_job *job) { return job->name != data; }
int main(void) {
  jobrun_opts opts = JOBRUN_OPTS_INIT;
  jobrun_stats stats;
  jobrun *rt;
  stats.size = sizeof stats;
  opts.flags = JOBRUN_VIRTUAL_CLOCK;
  if (jobrun_new(&rt, &opts) < 0 || jobrun_load_string(rt, "sleep(3600)", 11, "=c") < 0) return 1;
  if (jobrun_run(rt) < 0 || jobrun_job_each(rt, each, 0) < 0 || jobrun_get_stats(rt, &stats) < 0) return 2;
  return jobrun_free(rt) < 0 ? 3 : 0;
}
]]

local function write_example(dir, ending)
  local path = dir .. "/example." .. ending
  fs.write(path, USES_ALL_OF_IT)
  return path
end

function test_the_manual_and_the_definitions_are_installed()
  local tree = install()
  lu.assertStrMatches(fs.read(tree.prefix .. "/share/man/man1/jobrun.1"), ".TH JOBRUN 1 .*")
  lu.assertStrMatches(fs.read(tree.prefix .. "/share/jobrun/jobrun.d.lua"), "%-%-%-@meta\n.*")
end

function test_the_header_is_strict_c99()
  needs "cc"
  local example = write_example(testing.tmpdir(), "c")
  run("cc -std=c99 -pedantic-errors -Wall -Wextra -Wconversion -Werror -fsyntax-only -iquote src " .. example)
end

function test_the_header_is_cpp()
  needs "c++"
  local example = write_example(testing.tmpdir(), "cc")
  run("c++ -std=c++11 -pedantic-errors -Wall -Wextra -Wconversion -Werror -fsyntax-only -iquote src " .. example)
end

function test_a_host_in_cpp_runs()
  needs "c++"
  local tree = install()
  local example = write_example(tree.dir, "cc")
  run(("c++ -o %s/host %s %s"):format(tree.dir, example, tree.flags "--cflags --libs"))
  run(("LD_LIBRARY_PATH=%s/lib %s/host"):format(tree.prefix, tree.dir))
end

function test_the_example_host_builds_against_the_installed_library()
  needs "pkg-config"
  local tree = install()
  lu.assertEquals(tree.flags "--modversion", run "sed -n 's/#define JOBRUN_VERSION \"\\(.*\\)\"/\\1/p' src/jobrun.h")
  run(("cc -o %s/host scripts/host.c %s $(pkg-config --libs lua5.4)"):format(tree.dir, tree.flags "--cflags --libs"))
  local out = run(("LD_LIBRARY_PATH=%s/lib %s/host"):format(tree.prefix, tree.dir))
  lu.assertStrContains(out, "2 + 3 =\t5.0\ntick\n")
  lu.assertStrContains(run(("%s/bin/jobrun --version"):format(tree.prefix)), "jobrun ")
end

function test_the_example_host_builds_against_the_static_library()
  needs "pkg-config"
  local tree = install()
  local flags = tree.flags("--static --cflags --libs"):gsub("%-ljobrun", "-l:libjobrun.a")
  run(("cc -o %s/host scripts/host.c %s"):format(tree.dir, flags))
  lu.assertNotStrContains(run(("ldd %s/host"):format(tree.dir)), "libjobrun")
  lu.assertStrContains(run(tree.dir .. "/host"), "2 + 3 =\t5.0\ntick\n")
end

function test_the_library_shows_what_the_header_says_and_nothing_else()
  needs "nm"
  local tree = install()
  local declared, shown = {}, {}
  for name in fs.read("src/jobrun.h"):gmatch "JOBRUN_API [^(;]-(jobrun_[%w_]+)%(" do declared[#declared + 1] = name end
  local symbols = run(("nm -D --defined-only %s/lib/libjobrun.so.0"):format(tree.prefix))
  for name in symbols:gmatch " [TDBR] ([^\n]+)" do shown[#shown + 1] = name end
  table.sort(declared)
  table.sort(shown)
  lu.assertTrue(#declared > 30)
  lu.assertEquals(shown, declared)
end
