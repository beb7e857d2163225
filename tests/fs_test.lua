-- Files: what each call gives, what it raises, and that nothing half done is left behind by a
-- failure or a cancelled task.
--
-- SPDX-License-Identifier: MIT

local lu = require "luaunit"
local jobrun = require "jobrun"
local err = require "jobrun.core.error"
local tmpdir = require("jobrun.testing").tmpdir
local wait_for = require("jobrun.testing").wait_for
local fs, spawn, yield, timeout = jobrun.fs, jobrun.spawn, jobrun.yield, jobrun.timeout

-- libuv opens one inotify descriptor per loop at the first watch and keeps it.
fs.watch("/"):close()

-- The error object that fn(...) raises; checks its kind, and its code unless that is "any".
local function failure(kind, code, fn, ...)
  local ok, e = pcall(fn, ...)
  lu.assertFalse(ok, "expected an error")
  lu.assertTrue(err.is(e), tostring(e))
  lu.assertEquals({ e.kind, code == "any" and code or e.code }, { kind, code }, e.message)
  return e
end

local function names(dir)
  local list = {}
  for _, entry in ipairs(fs.list(dir)) do list[#list + 1] = entry.name end
  return table.concat(list, " ")
end

local function shell(fmt, ...)
  lu.assertTrue(os.execute(fmt:format(...)))
end

-- ---- read ----------------------------------------------------------------------------------------

TestRead = {}

function TestRead.test_gives_the_bytes_as_they_are()
  local dir = tmpdir()
  local bytes = "a\0b\r\n\xff\xfe" .. ("x"):rep(100)
  fs.write(dir .. "/f", bytes)
  lu.assertEquals(fs.read(dir .. "/f"), bytes)
end

function TestRead.test_an_empty_file_is_an_empty_string()
  local dir = tmpdir()
  fs.write(dir .. "/f", "")
  lu.assertEquals(fs.read(dir .. "/f"), "")
  lu.assertEquals(fs.read(dir .. "/f", 0), "")
end

function TestRead.test_a_file_of_several_pieces()
  local dir = tmpdir()
  local bytes = ("0123456789abcdef"):rep(640 * 1024) .. "end" -- 10 MiB and a bit
  fs.write(dir .. "/f", bytes)
  lu.assertTrue(fs.read(dir .. "/f") == bytes)
end

function TestRead.test_a_file_that_does_not_tell_its_size()
  lu.assertStrContains(fs.read "/proc/self/status", "Name:\t")
  local file = io.open("/proc/kallsyms")
  local all = file:read("a")
  file:close()
  lu.assertTrue(#fs.read("/proc/kallsyms") == #all)
end

function TestRead.test_a_file_that_tells_more_than_it_has()
  local path = "/sys/kernel/mm/transparent_hugepage/enabled"
  if not fs.exists(path) then lu.skip("no such file here") end
  lu.assertStrMatches(fs.read(path), ".*\n")
end

function TestRead.test_the_limit_is_exact_and_clear()
  local dir = tmpdir()
  fs.write(dir .. "/f", "12345")
  lu.assertEquals(fs.read(dir .. "/f", 5), "12345")
  local e = failure("limit", "EFBIG", fs.read, dir .. "/f", 4)
  lu.assertStrContains(e.message, "more than 4 bytes")
  failure("limit", "EFBIG", fs.read, "/dev/zero", 100000)
end

function TestRead.test_the_default_limit()
  local dir = tmpdir()
  shell("truncate -s %d %s/f", fs.READ_LIMIT + 1, dir)
  lu.assertStrContains(failure("limit", "EFBIG", fs.read, dir .. "/f").message, tostring(fs.READ_LIMIT))
end

function TestRead.test_an_error_says_what_where_and_why()
  local e = failure("not_found", "ENOENT", fs.read, "no/such")
  lu.assertEquals(e.message, "fs.read 'no/such': no such file or directory")
  lu.assertEquals({ e.op, e.path }, { "fs.read", "no/such" })
  lu.assertStrMatches(e.where, ".*fs_test.lua:%d+")
end

function TestRead.test_what_is_no_file()
  local dir = tmpdir()
  failure("is_directory", "EISDIR", fs.read, dir)
  fs.write(dir .. "/f", "")
  failure("not_directory", "ENOTDIR", fs.read, dir .. "/f/g")
  shell("mkfifo %s/pipe", dir)
  lu.assertStrContains(failure("usage", "EINVAL", fs.read, dir .. "/pipe").message, "named pipe")
  shell("ln -s loop %s/loop", dir)
  failure("system", "ELOOP", fs.read, dir .. "/loop")
  failure("system", "ENAMETOOLONG", fs.read, ("x"):rep(5000))
  failure("not_found", "ENOENT", fs.read, "")
end

-- ---- write ---------------------------------------------------------------------------------------

TestWrite = {}

function TestWrite.test_replaces_and_leaves_no_scratch_file()
  local dir = tmpdir()
  fs.write(dir .. "/f", "old and long")
  fs.write(dir .. "/f", "new")
  lu.assertEquals(fs.read(dir .. "/f"), "new")
  lu.assertEquals(names(dir), "f")
end

function TestWrite.test_a_reader_sees_the_old_or_the_new_content()
  local dir = tmpdir()
  local path = dir .. "/f"
  local old, new = ("o"):rep(3 << 20), ("n"):rep(3 << 20)
  fs.write(path, old)
  local writer = spawn(function()
    for i = 1, 10 do fs.write(path, i % 2 == 1 and new or old) end
  end)
  repeat
    local now = fs.read(path)
    lu.assertTrue(now == old or now == new)
  until writer.status == "done"
  writer:await()
end

function TestWrite.test_keeps_mode_and_owner_of_what_it_replaces()
  local dir = tmpdir()
  fs.write(dir .. "/f", "x", { mode = "0640" })
  lu.assertEquals(fs.stat(dir .. "/f").mode, "0640")
  os.execute(("chown 12:34 %s/f 2>/dev/null"):format(dir))
  local before = fs.stat(dir .. "/f")
  fs.write(dir .. "/f", "y")
  local after = fs.stat(dir .. "/f")
  lu.assertEquals({ after.mode, after.uid, after.gid }, { before.mode, before.uid, before.gid })
  lu.assertNotEquals(after.ino, before.ino)
end

function TestWrite.test_mode_is_octal_and_sets_an_existing_file_too()
  local dir = tmpdir()
  for _, options in ipairs { {}, { atomic = false }, { append = true } } do
    options.mode = "751"
    fs.write(dir .. "/f", "x", options)
    lu.assertEquals(fs.stat(dir .. "/f").mode, "0751")
    shell("chmod 600 %s/f", dir)
  end
  lu.assertStrContains(failure("usage", nil, fs.write, dir .. "/f", "", { mode = "698" }).message, "octal")
  failure("usage", nil, fs.write, dir .. "/f", "", { mode = 644 })
end

function TestWrite.test_the_umask_holds_for_a_new_file()
  local dir = tmpdir()
  fs.write(dir .. "/f", "x")
  shell("touch %s/g", dir)
  lu.assertEquals(fs.stat(dir .. "/f").mode, fs.stat(dir .. "/g").mode)
end

function TestWrite.test_through_a_link_writes_its_target()
  local dir = tmpdir()
  fs.mkdir(dir .. "/sub")
  fs.write(dir .. "/sub/f", "old")
  shell("ln -s sub/f %s/link; ln -s sub/new %s/dangling", dir, dir)
  fs.write(dir .. "/link", "new")
  fs.write(dir .. "/dangling", "made")
  lu.assertEquals(fs.stat(dir .. "/link", { follow = false }).type, "link")
  lu.assertEquals(fs.read(dir .. "/sub/f"), "new")
  lu.assertEquals(fs.read(dir .. "/sub/new"), "made")
  lu.assertEquals(names(dir .. "/sub"), "f new")
end

function TestWrite.test_a_device_is_never_replaced()
  fs.write("/dev/null", "x")
  lu.assertEquals(fs.stat("/dev/null").type, "char")
  failure("no_space", "ENOSPC", fs.write, "/dev/full", "x")
  failure("no_space", "ENOSPC", fs.append, "/dev/full", "x")
  lu.assertEquals(fs.stat("/dev/full").type, "char")
end

function TestWrite.test_in_place_keeps_the_inode()
  local dir = tmpdir()
  fs.write(dir .. "/f", "long content")
  local before = fs.stat(dir .. "/f").ino
  fs.write(dir .. "/f", "x", { atomic = false })
  lu.assertEquals(fs.stat(dir .. "/f").ino, before)
  lu.assertEquals(fs.read(dir .. "/f"), "x")
end

function TestWrite.test_append_makes_and_extends()
  local dir = tmpdir()
  fs.append(dir .. "/f", "a")
  fs.append(dir .. "/f", "b", { sync = true })
  fs.write(dir .. "/f", "c", { append = true })
  lu.assertEquals(fs.read(dir .. "/f"), "abc")
end

function TestWrite.test_noreplace_and_sync()
  local dir = tmpdir()
  fs.write(dir .. "/f", "a", { noreplace = true, sync = true })
  local e = failure("exists", "EEXIST", fs.write, dir .. "/f", "b", { noreplace = true })
  lu.assertEquals(e.op, "fs.write")
  lu.assertEquals(fs.read(dir .. "/f"), "a")
  fs.write(dir .. "/f", "c", { sync = true })
  lu.assertEquals(fs.read(dir .. "/f"), "c")
  lu.assertEquals(names(dir), "f")
end

function TestWrite.test_of_many_with_noreplace_one_wins()
  local dir = tmpdir()
  local won, lost = 0, 0
  jobrun.scope(function()
    for i = 1, 16 do
      spawn(function()
        local ok, e = pcall(fs.write, dir .. "/f", tostring(i), { noreplace = true })
        if ok then
          won = won + 1
        else
          lost = lost + 1
          lu.assertEquals(e.kind, "exists")
        end
      end)
    end
  end)
  lu.assertEquals({ won, lost }, { 1, 15 })
  lu.assertEquals(names(dir), "f")
end

function TestWrite.test_a_long_name_has_room_for_its_scratch_file()
  local dir = tmpdir()
  local path = dir .. "/" .. ("n"):rep(255)
  fs.write(path, "x")
  lu.assertEquals(fs.read(path), "x")
end

function TestWrite.test_a_full_disk_leaves_the_old_file_and_no_other()
  local dir = tmpdir()
  lu.skipIf(not os.execute(("mount -t tmpfs -o size=256k none %s 2>/dev/null"):format(dir)), "needs mount")
  local ok, e = pcall(function()
    fs.write(dir .. "/f", "old")
    failure("no_space", "ENOSPC", fs.write, dir .. "/f", ("x"):rep(1 << 20))
    fs.write("/dev/shm/jobrun-fs-test", ("x"):rep(1 << 20))
    failure("no_space", "ENOSPC", fs.copy, "/dev/shm/jobrun-fs-test", dir .. "/f")
    lu.assertEquals(fs.read(dir .. "/f"), "old")
    lu.assertEquals(names(dir), "f")
  end)
  os.remove "/dev/shm/jobrun-fs-test"
  shell("umount %s", dir)
  if not ok then error(e, 0) end
end

function TestWrite.test_what_cannot_be_written()
  local dir = tmpdir()
  failure("is_directory", "EISDIR", fs.write, dir, "x")
  failure("is_directory", "EISDIR", fs.append, dir, "x")
  failure("not_found", "ENOENT", fs.write, dir .. "/no/f", "x")
  failure("permission", "any", fs.write, "/proc/sys/kernel/ostype", "x", { atomic = false })
  failure("usage", nil, fs.write, dir .. "/f")
  failure("usage", nil, fs.write, dir .. "/f", 12)
  failure("usage", nil, fs.write, dir .. "/f", "", { append = true, noreplace = true })
  failure("usage", nil, fs.write, dir .. "/f", "", { atomic = false, noreplace = true })
  local e = failure("usage", nil, fs.write, "f", "", { atomc = true })
  lu.assertStrContains(e.message, "did you mean 'atomic'")
  lu.assertEquals(names(dir), "")
end

-- ---- the tree ------------------------------------------------------------------------------------

TestTree = {}

function TestTree.test_stat()
  local dir = tmpdir()
  fs.write(dir .. "/f", "12345", { mode = "600" })
  shell("ln -s f %s/link; mkfifo %s/pipe; touch -d @1234567890.5 %s/f", dir, dir, dir)
  local st = fs.stat(dir .. "/link")
  lu.assertEquals({ st.type, st.size, st.mode, st.nlink, st.mtime }, { "file", 5, "0600", 1, 1234567890.5 })
  lu.assertEquals(math.type(st.ino) .. math.type(st.dev) .. math.type(st.mtime), "integerintegerfloat")
  lu.assertEquals(fs.stat(dir .. "/link", { follow = false }).type, "link")
  lu.assertEquals(fs.stat(dir).type, "directory")
  lu.assertEquals(fs.stat(dir .. "/pipe").type, "fifo")
end

function TestTree.test_what_does_not_exist_is_no_error()
  local dir = tmpdir()
  fs.write(dir .. "/f", "")
  shell("ln -s nowhere %s/dangling", dir)
  lu.assertNil(fs.stat(dir .. "/no"))
  lu.assertNil(fs.stat(dir .. "/f/no"))
  lu.assertIsFalse(fs.exists(dir .. "/no"))
  lu.assertIsFalse(fs.exists(dir .. "/dangling"))
  lu.assertIsTrue(fs.exists(dir .. "/f"))
  lu.assertNotNil(fs.stat(dir .. "/dangling", { follow = false }))
  failure("system", "ENAMETOOLONG", fs.exists, ("x"):rep(5000))
end

function TestTree.test_list_is_sorted_with_types()
  local dir = tmpdir()
  fs.write(dir .. "/b", "")
  fs.mkdir(dir .. "/c")
  fs.write(dir .. "/.a", "")
  shell("ln -s b %s/d", dir)
  lu.assertEquals(fs.list(dir), {
    { name = ".a", type = "file" },
    { name = "b", type = "file" },
    { name = "c", type = "directory" },
    { name = "d", type = "link" },
  })
  lu.assertEquals(fs.list(dir .. "/c"), {})
  failure("not_found", "ENOENT", fs.list, dir .. "/no")
  failure("not_directory", "ENOTDIR", fs.list, dir .. "/b")
end

function TestTree.test_list_of_many()
  local dir = tmpdir()
  shell("cd %s && seq -f 'entry-%%05.0f' 1 500 | xargs touch", dir)
  local list = fs.list(dir)
  lu.assertEquals({ #list, list[1].name, list[500].name }, { 500, "entry-00001", "entry-00500" })
end

function TestTree.test_mkdir()
  local dir = tmpdir()
  lu.assertIsTrue(fs.mkdir(dir .. "/a", { mode = "700" }))
  lu.assertEquals(fs.stat(dir .. "/a").mode, "0700")
  failure("exists", "EEXIST", fs.mkdir, dir .. "/a")
  failure("not_found", "ENOENT", fs.mkdir, dir .. "/x/y")
  failure("permission", "any", fs.mkdir, "/sys/jobrun")
  failure("usage", nil, fs.mkdir, dir .. "/b", { parent = true })
end

function TestTree.test_mkdir_with_parents()
  local dir = tmpdir()
  lu.assertIsTrue(fs.mkdir(dir .. "/a/b//c/d/", { parents = true }))
  lu.assertIsFalse(fs.mkdir(dir .. "/a/b/c/d", { parents = true }))
  lu.assertIsTrue(fs.mkdir(dir .. "/a/b/e", { parents = true }))
  lu.assertEquals(names(dir .. "/a/b"), "c e")
  fs.write(dir .. "/f", "")
  failure("exists", "EEXIST", fs.mkdir, dir .. "/f", { parents = true })
  failure("not_directory", "ENOTDIR", fs.mkdir, dir .. "/f/g", { parents = true })
  shell("ln -s nowhere %s/dangling; ln -s a %s/link", dir, dir)
  failure("not_found", "ENOENT", fs.mkdir, dir .. "/dangling/x", { parents = true })
  lu.assertIsFalse(fs.mkdir(dir .. "/link", { parents = true }))
  failure("not_found", "ENOENT", fs.mkdir, "", { parents = true })
end

function TestTree.test_mkdir_of_the_same_by_many()
  local dir = tmpdir()
  local made = 0
  jobrun.scope(function()
    for _ = 1, 16 do
      spawn(function()
        if fs.mkdir(dir .. "/a/b/c/d/e", { parents = true }) then made = made + 1 end
      end)
    end
  end)
  lu.assertEquals(made, 1)
end

function TestTree.test_remove()
  local dir = tmpdir()
  fs.write(dir .. "/f", "")
  fs.mkdir(dir .. "/d/e", { parents = true })
  shell("ln -s d %s/link", dir)
  fs.remove(dir .. "/f")
  fs.remove(dir .. "/link")
  failure("not_empty", "ENOTEMPTY", fs.remove, dir .. "/d")
  fs.remove(dir .. "/d/e/")
  fs.remove(dir .. "/d")
  lu.assertEquals(names(dir), "")
  failure("not_found", "ENOENT", fs.remove, dir .. "/f")
  failure("not_found", "ENOENT", fs.remove, dir .. "/f", { recursive = true })
end

function TestTree.test_remove_a_tree_but_not_what_links_lead_to()
  local dir = tmpdir()
  fs.mkdir(dir .. "/keep")
  fs.write(dir .. "/keep/f", "x")
  shell("cd %s && mkdir -p t/a/b/c t/d && touch t/a/f t/a/b/c/g && mkfifo t/d/p", dir)
  shell("cd %s && ln -s ../keep t/link && ln -s t link", dir)
  fs.remove(dir .. "/t/link", { recursive = true })
  fs.remove(dir .. "/link/", { recursive = true })
  fs.remove(dir .. "/t", { recursive = true })
  lu.assertEquals(names(dir), "keep")
  lu.assertEquals(names(dir .. "/keep"), "f")
end

function TestTree.test_remove_a_deep_and_a_wide_tree()
  local dir = tmpdir()
  fs.mkdir(dir .. "/t" .. ("/d"):rep(300), { parents = true })
  shell("cd %s/t && for i in $(seq 12); do mkdir -p w/$i; (cd w/$i && touch a b c d e); done", dir)
  fs.remove(dir .. "/t", { recursive = true })
  lu.assertEquals(names(dir), "")
end

function TestTree.test_a_tree_removed_by_two()
  local dir = tmpdir()
  shell("cd %s && for i in $(seq 12); do mkdir -p t/$i/x/y; touch t/$i/f t/$i/x/g; done", dir)
  local gone = 0
  jobrun.scope(function()
    for _ = 1, 2 do
      spawn(function()
        local ok, e = pcall(fs.remove, dir .. "/t", { recursive = true })
        if ok or e.kind == "not_found" then gone = gone + 1 else error(e) end
      end)
    end
  end)
  lu.assertEquals(gone, 2)
  lu.assertEquals(names(dir), "")
end

function TestTree.test_remove_refuses_the_root_and_dots()
  for _, path in ipairs { "/", "//", ".", "..", "./", "x/..", "x/." } do
    failure("usage", "EINVAL", fs.remove, path, { recursive = true })
  end
end

function TestTree.test_remove_says_what_stopped_it()
  failure("permission", "EPERM", fs.remove, "/proc/self/task", { recursive = true })
end

function TestTree.test_rename()
  local dir = tmpdir()
  fs.write(dir .. "/a", "a")
  fs.write(dir .. "/b", "b")
  fs.rename(dir .. "/a", dir .. "/c", { sync = true })
  local e = failure("exists", "EEXIST", fs.rename, dir .. "/b", dir .. "/c", { noreplace = true })
  lu.assertEquals({ e.path, e.to }, { dir .. "/b", dir .. "/c" })
  lu.assertEquals(e.message, ("fs.rename '%s/b' to '%s/c': file already exists"):format(dir, dir))
  fs.rename(dir .. "/b", dir .. "/d", { noreplace = true })
  lu.assertEquals(names(dir), "c d")
  fs.rename(dir .. "/d", dir .. "/c")
  lu.assertEquals(fs.read(dir .. "/c"), "b")
  failure("not_found", "ENOENT", fs.rename, dir .. "/no", dir .. "/x")
  failure("not_found", "ENOENT", fs.rename, dir .. "/no", dir .. "/x", { noreplace = true })
  failure("usage", nil, fs.rename, dir .. "/c")
end

function TestTree.test_rename_a_folder_and_noreplace_of_one()
  local dir = tmpdir()
  fs.mkdir(dir .. "/a/x", { parents = true })
  fs.rename(dir .. "/a", dir .. "/b", { noreplace = true })
  fs.mkdir(dir .. "/c")
  failure("exists", "EEXIST", fs.rename, dir .. "/b", dir .. "/c", { noreplace = true })
  failure("usage", "EINVAL", fs.rename, dir .. "/b", dir .. "/b/x/y")
  lu.assertEquals(names(dir .. "/b"), "x")
end

function TestTree.test_rename_to_another_file_system()
  local dir = tmpdir()
  fs.write(dir .. "/a", "a")
  if fs.stat("/dev/shm").dev == fs.stat(dir).dev then lu.skip("one file system only") end
  failure("system", "EXDEV", fs.rename, dir .. "/a", "/dev/shm/jobrun-fs-test-x")
end

function TestTree.test_copy()
  local dir = tmpdir()
  local bytes = ("copy"):rep(1 << 20)
  fs.write(dir .. "/a", bytes, { mode = "640" })
  fs.copy(dir .. "/a", dir .. "/b")
  lu.assertTrue(fs.read(dir .. "/b") == bytes)
  lu.assertEquals(fs.stat(dir .. "/b").mode, "0640")
  fs.write(dir .. "/c", "c")
  failure("exists", "EEXIST", fs.copy, dir .. "/a", dir .. "/c", { noreplace = true })
  fs.copy(dir .. "/c", dir .. "/b")
  lu.assertEquals(fs.read(dir .. "/b"), "c")
  fs.copy(dir .. "/c", dir .. "/c")
  lu.assertEquals(fs.read(dir .. "/c"), "c")
  lu.assertEquals(names(dir), "a b c")
end

function TestTree.test_what_cannot_be_copied()
  local dir = tmpdir()
  fs.write(dir .. "/a", "a")
  shell("mkfifo %s/pipe; ln -s nowhere %s/dangling", dir, dir)
  failure("is_directory", "EISDIR", fs.copy, dir, dir .. "/b")
  failure("is_directory", "EISDIR", fs.copy, dir .. "/a", dir)
  failure("not_found", "ENOENT", fs.copy, dir .. "/no", dir .. "/b")
  failure("usage", "EINVAL", fs.copy, dir .. "/pipe", dir .. "/b")
  local e = failure("usage", "EINVAL", fs.copy, dir .. "/a", "/dev/null")
  lu.assertStrContains(e.message, "not a regular file")
  lu.assertEquals(fs.stat("/dev/null").type, "char")
  lu.assertEquals(names(dir), "a dangling pipe")
end

function TestTree.test_sync()
  local dir = tmpdir()
  fs.write(dir .. "/f", "x")
  fs.sync(dir .. "/f")
  fs.sync(dir)
  fs.sync(dir .. "/")
  fs.sync("/")
  fs.sync(".")
  failure("not_found", "ENOENT", fs.sync, dir .. "/no")
end

function TestTree.test_realpath()
  local dir = fs.realpath(tmpdir())
  fs.mkdir(dir .. "/a")
  shell("ln -s a %s/link", dir)
  lu.assertEquals(fs.realpath(dir .. "/link/../link/."), dir .. "/a")
  failure("not_found", "ENOENT", fs.realpath, dir .. "/no")
end

function TestTree.test_bad_paths()
  local one_path = { "read", "list", "stat", "exists", "mkdir", "remove", "sync", "realpath", "watch" }
  for _, name in ipairs(one_path) do
    local e = failure("usage", nil, fs[name])
    lu.assertStrContains(e.message, "fs." .. name .. ": expected a path")
    lu.assertStrMatches(e.where, ".*fs_test.lua:%d+")
    failure("usage", nil, fs[name], {})
    failure("usage", nil, fs[name], 12)
    failure("usage", nil, fs[name], "a\0b")
  end
  failure("usage", nil, fs.read, "f", "many")
  failure("usage", nil, fs.read, "f", -1)
  failure("usage", nil, fs.read, "f", 1.5)
end

-- ---- tmpdir --------------------------------------------------------------------------------------

TestTmpdir = {}

function TestTmpdir.test_is_private_and_goes_with_its_content()
  local path
  do
    local tmp <close> = fs.tmpdir()
    path = tmp.path
    lu.assertEquals(fs.stat(path).mode, "0700")
    fs.mkdir(path .. "/a/b", { parents = true })
    fs.write(path .. "/a/f", "x")
  end
  lu.assertFalse(fs.exists(path))
end

function TestTmpdir.test_goes_in_an_error_and_in_a_cancelled_task()
  local path
  pcall(function()
    local tmp <close> = fs.tmpdir()
    path = tmp.path
    error "x"
  end)
  lu.assertFalse(fs.exists(path))
  local task = spawn(function()
    local tmp <close> = fs.tmpdir()
    path = tmp.path
    fs.write(path .. "/f", "x")
    jobrun.sleep(60)
  end)
  wait_for(function() return fs.exists(path .. "/f") end)
  task:cancel()
  pcall(task.await, task)
  lu.assertFalse(fs.exists(path))
end

function TestTmpdir.test_closed_twice_or_gone_already()
  local tmp = fs.tmpdir()
  fs.remove(tmp.path)
  tmp:close()
  tmp:close()
end

-- ---- cancellation --------------------------------------------------------------------------------

TestCancel = {}

function TestCancel.test_a_cancelled_task_makes_no_call()
  local dir = tmpdir()
  local seen = {}
  local task = spawn(function()
    pcall(jobrun.sleep, 60)
    for _, name in ipairs { "read", "exists", "list", "mkdir", "remove", "sync", "realpath" } do
      local _, e = pcall(fs[name], dir .. "/x")
      seen[#seen + 1] = e.kind
    end
  end)
  yield()
  task:cancel()
  pcall(task.await, task)
  lu.assertEquals(table.concat(seen, " "), ("cancelled "):rep(7):sub(1, -2))
  lu.assertEquals(names(dir), "")
end

-- At each of its steps in turn: a file is as it was or as it should be, and there is no other.
function TestCancel.test_a_write_at_any_point_leaves_old_or_new()
  local dir = tmpdir()
  local path = dir .. "/f"
  local new = ("n"):rep(2500000)
  local counts = { cancelled = 0, done = 0 }
  for turn = 1, 120 do
    fs.write(path, "old")
    local task = spawn(fs.write, path, new)
    for _ = 1, turn do yield() end
    task:cancel()
    local ok, e = pcall(task.await, task)
    if not ok then lu.assertEquals(e.kind, "cancelled") end
    counts[ok and "done" or "cancelled"] = counts[ok and "done" or "cancelled"] + 1
    wait_for(function() return names(dir) == "f" end)
    local now = fs.read(path)
    lu.assertTrue(now == "old" or now == new)
  end
  lu.assertTrue(counts.cancelled > 0)
end

function TestCancel.test_every_call_at_any_point_leaves_nothing_open()
  local dir = tmpdir()
  local bytes = ("x"):rep(300000)
  fs.write(dir .. "/f", bytes)
  local calls = {
    function() fs.read(dir .. "/f") end,
    function() fs.read("/proc/self/maps") end,
    function() fs.copy(dir .. "/f", dir .. "/g") end,
    function() fs.copy(dir .. "/f", dir .. "/h", { noreplace = true }) end,
    function() fs.append(dir .. "/log", bytes, { sync = true }) end,
    function() fs.write(dir .. "/w", bytes, { sync = true, noreplace = true }) end,
    function() fs.list(dir) end,
    function() fs.mkdir(dir .. "/a/b/c/d", { parents = true }) end,
    function() fs.remove(dir .. "/a", { recursive = true }) end,
    function() fs.sync(dir .. "/f") end,
    function() fs.realpath(dir .. "/f") end,
    function()
      local tmp <close> = fs.tmpdir()
      fs.write(tmp.path .. "/f", bytes)
    end,
  }
  for turn = 0, 40 do
    for _, call in ipairs(calls) do
      local task = spawn(pcall, call)
      for _ = 1, turn * 2 do yield() end
      task:cancel()
      pcall(task.await, task)
    end
  end
  wait_for(function() return not names(dir):find "jobrun" end)
end

function TestCancel.test_queued_calls_are_taken_back()
  local dir = tmpdir()
  local tasks = {}
  for i = 1, 200 do tasks[i] = spawn(fs.write, dir .. "/" .. i, "x") end
  yield()
  for _, task in ipairs(tasks) do task:cancel() end
  for _, task in ipairs(tasks) do pcall(task.await, task) end
  wait_for(function() return not names(dir):find "jobrun" end)
  lu.assertTrue(#fs.list(dir) < 200)
end

function TestCancel.test_a_deadline()
  local dir = tmpdir()
  shell("truncate -s 60M %s/f", dir)
  failure("timeout", "ETIMEDOUT", timeout, 0.001, function()
    while true do fs.read(dir .. "/f") end
  end)
end

function TestCancel.test_removing_a_tree_stops_at_any_point()
  local dir = tmpdir()
  shell("cd %s && mkdir t && for i in $(seq 60); do mkdir -p t/$i/a/b; done", dir)
  for turn = 1, 20 do
    if not fs.exists(dir .. "/t") then break end
    local task = spawn(pcall, fs.remove, dir .. "/t", { recursive = true })
    for _ = 1, turn * 3 do yield() end
    task:cancel()
    pcall(task.await, task)
  end
end

-- ---- watch ---------------------------------------------------------------------------------------

TestWatch = {}

function TestWatch.test_events_of_a_folder_in_a_loop()
  local dir = tmpdir()
  local watch = fs.watch(dir)
  fs.write(dir .. "/f", "x", { atomic = false })
  local seen = {}
  for event in watch, nil, nil, watch do
    seen[#seen + 1] = event
    if event.type == "change" then break end
  end
  lu.assertEquals(seen, {
    { type = "rename", name = "f", path = dir .. "/f" },
    { type = "change", name = "f", path = dir .. "/f" },
  })
  lu.assertNil(watch:next())
end

function TestWatch.test_the_loop_waits_for_what_comes()
  local dir = tmpdir()
  local reader = spawn(function()
    for event in fs.watch(dir) do
      if event.name == "last" then return event.type end
    end
  end)
  yield()
  fs.write(dir .. "/first", "x")
  fs.write(dir .. "/last", "x")
  lu.assertEquals(reader:await(), "rename")
end

function TestWatch.test_a_change_of_a_file()
  local dir = tmpdir()
  fs.write(dir .. "/f", "x")
  local watch <close> = fs.watch(dir .. "/f")
  fs.append(dir .. "/f", "y")
  lu.assertEquals(watch:next(), { type = "change", name = "f", path = dir .. "/f" })
end

function TestWatch.test_a_function_is_called_until_it_is_closed()
  local dir = tmpdir()
  local seen = {}
  local watch = fs.watch(dir, function(event)
    seen[event.name or ""] = true
    fs.exists(event.path)
  end)
  fs.write(dir .. "/a", "x")
  fs.write(dir .. "/b", "x")
  wait_for(function() return seen.a and seen.b end)
  watch:close()
  watch:close()
end

function TestWatch.test_an_error_in_the_function_is_the_parents()
  local dir = tmpdir()
  local ok, e = pcall(jobrun.scope, function()
    fs.watch(dir, function() error "from the callback" end)
    fs.write(dir .. "/a", "x")
    jobrun.sleep(60)
  end)
  lu.assertFalse(ok)
  lu.assertStrContains(tostring(e), "from the callback")
end

function TestWatch.test_closing_ends_a_loop_that_waits()
  local dir = tmpdir()
  local watch = fs.watch(dir)
  local reader = spawn(function()
    for _ in watch do lu.fail "no event" end
    return "over"
  end)
  yield()
  local e = failure("usage", nil, watch.next, watch)
  lu.assertStrContains(e.message, "another task")
  watch:close()
  lu.assertEquals(reader:await(), "over")
end

function TestWatch.test_equal_events_are_one_and_too_many_are_told()
  local dir = tmpdir()
  local watch <close> = fs.watch(dir)
  for _ = 1, 50 do fs.append(dir .. "/same", "x") end
  fs.write(dir .. "/mark", "x", { atomic = false })
  local n, last = 0
  repeat
    n, last = n + 1, watch:next()
  until last.name == "mark"
  lu.assertTrue(n <= 4, tostring(n))
  for _ = 1, 1000 do
    os.rename(dir .. "/mark", dir .. "/there")
    os.rename(dir .. "/there", dir .. "/mark")
  end
  n = 0
  repeat
    n, last = n + 1, watch:next()
  until last.type == "overflow"
  lu.assertEquals(last.path, dir)
  lu.assertTrue(n <= 1026, tostring(n))
end

function TestWatch.test_a_cancelled_reader_lets_go()
  local dir = tmpdir()
  local watch <close> = fs.watch(dir)
  local reader = spawn(watch.next, watch)
  yield()
  reader:cancel()
  pcall(reader.await, reader)
  fs.mkdir(dir .. "/d")
  lu.assertEquals(watch:next().name, "d")
end

function TestWatch.test_a_handle_that_is_forgotten_is_closed()
  local dir = tmpdir()
  fs.watch(dir)
  collectgarbage()
  fs.write(dir .. "/f", "x")
end

function TestWatch.test_what_cannot_be_watched()
  failure("not_found", "ENOENT", fs.watch, "/no/such")
  failure("usage", nil, fs.watch, "/tmp", 12)
end
