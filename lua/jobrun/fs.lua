--- Files, as calls that suspend: `fs.read`, `fs.write`, `fs.stat`, `fs.list`, `fs.watch` and so on.
---
--- The work is done by the threadpool; other tasks run meanwhile. Every failure raises an error
--- object {kind, code, op, path, message}: kind is "not_found", "exists", "permission", "no_space",
--- "is_directory", "not_directory", "not_empty", "limit" or "system", code the system's name ("ENOENT").
--- A cancelled task does not wait for the system call under way, which may still take effect; what
--- is half done is undone. Permissions are strings of octal digits ("640"): Lua has no octal numbers.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.fs"
local err = require "jobrun.core.error"
local check = require "jobrun.check"
local task = require "jobrun.task"

local M = {}

---The most that `fs.read` reads unless it is told otherwise: 64 MiB.
M.READ_LIMIT = 64 << 20

local WRITE_OPTIONS = {
  append = { type = "boolean", default = false },
  atomic = { type = "boolean", default = true },
  noreplace = { type = "boolean", default = false },
  sync = { type = "boolean", default = false },
  mode = "string",
}
local APPEND_OPTIONS = { sync = { type = "boolean", default = false }, mode = "string" }
local STAT_OPTIONS = { follow = { type = "boolean", default = true } }
local MKDIR_OPTIONS = { parents = { type = "boolean", default = false }, mode = "string" }
local REMOVE_OPTIONS = { recursive = { type = "boolean", default = false } }
local RENAME_OPTIONS = {
  noreplace = { type = "boolean", default = false },
  sync = { type = "boolean", default = false },
}
local COPY_OPTIONS = { noreplace = { type = "boolean", default = false } }

-- "640" → 0x1A0; nil stays nil
local function mode_of(what, mode)
  if mode == nil then return nil end
  if not mode:find("^0?[0-7]?[0-7][0-7][0-7]$") then
    check.fail('%s: option \'mode\' expected octal digits such as "640", got %s', what, check.show(mode))
  end
  return tonumber(mode, 8)
end

---The bytes of a file. (suspends)
---@param path string
---@param max_bytes? integer a larger file is an error of kind "limit"; default fs.READ_LIMIT
---@return string
function M.read(path, max_bytes)
  if max_bytes == nil then
    max_bytes = M.READ_LIMIT
  elseif math.type(max_bytes) ~= "integer" or max_bytes < 0 then
    check.fail("fs.read: expected a number of bytes as argument 2, got %s", check.show(max_bytes))
  end
  return core.read(path, max_bytes)
end

---@class jobrun.fs.WriteOptions
---@field append? boolean behind what is there; not atomic
---@field atomic? boolean false: in place, so that an error leaves what was written so far; default true
---@field noreplace? boolean an existing file is an error of kind "exists"
---@field sync? boolean on the disk, with its name, when the call returns; default false
---@field mode? string permissions, "640"; default that of the file replaced, else "666" less the umask

---Writes a file. By default atomic: the bytes go to a scratch file `.NAME.jobrun-PID-N` beside it,
---which then takes its name, so that nobody ever sees half of it. A file that is replaced leaves its
---mode, and where the system allows it its owner, to the new one; a symbolic link's target is
---replaced and not the link; a device or pipe is written in place. (suspends)
---@param path string
---@param data string
---@param options? jobrun.fs.WriteOptions
function M.write(path, data, options)
  if options == nil then return core.write(path, data, nil, true) end
  local o = check.options("fs.write", options, WRITE_OPTIONS)
  local mode = mode_of("fs.write", o.mode)
  if o.append then
    if o.noreplace then check.fail("fs.write: append and noreplace exclude each other") end
    return core.append(path, data, mode, o.sync)
  end
  if o.noreplace and not o.atomic then check.fail("fs.write: noreplace needs atomic") end
  return core.write(path, data, mode, o.atomic, o.noreplace, o.sync)
end

---Writes behind what is in a file, which is made if it does not exist. (suspends)
---@param path string
---@param data string
---@param options? {sync?: boolean, mode?: string}
function M.append(path, data, options)
  if options == nil then return core.append(path, data) end
  local o = check.options("fs.append", options, APPEND_OPTIONS)
  return core.append(path, data, mode_of("fs.append", o.mode), o.sync)
end

---@class jobrun.fs.Stat
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"char"|"block"|"unknown"
---@field size integer bytes
---@field mode string permissions, "0644"
---@field mtime number last change of the content; seconds since 1970 UTC, as atime and ctime
---@field atime number
---@field ctime number
---@field ino integer
---@field dev integer
---@field nlink integer
---@field uid integer
---@field gid integer

---What a path is, or nil when it does not exist. (suspends)
---@param path string
---@param options? {follow?: boolean} follow=false: a symbolic link itself, not what it leads to
---@return jobrun.fs.Stat?
function M.stat(path, options)
  local o = check.options("fs.stat", options or {}, STAT_OPTIONS)
  return core.stat(path, not o.follow)
end

---Does it exist? A symbolic link that leads nowhere does not. (suspends)
---@param path string
---@return boolean
M.exists = core.exists

---The entries of a folder, sorted by name, without `.` and `..`. (suspends)
---@param path string
---@return {name: string, type: string}[]
M.list = core.list

---Makes a folder. (suspends)
---@param path string
---@param options? {parents?: boolean, mode?: string} parents: those above it too; one that exists is no error
---@return boolean made false if it was there before (with parents)
function M.mkdir(path, options)
  local o = check.options("fs.mkdir", options or {}, MKDIR_OPTIONS)
  return core.mkdir(path, o.parents, mode_of("fs.mkdir", o.mode))
end

---Removes a file, a link (not what it leads to) or an empty folder. (suspends)
---@param path string
---@param options? {recursive?: boolean} recursive: a folder with all that is in it
function M.remove(path, options)
  local o = check.options("fs.remove", options or {}, REMOVE_OPTIONS)
  return core.remove(path, o.recursive)
end

---Gives a file or folder another name on the same file system, replacing a file of that name.
---With `noreplace` one of that name is an error of kind "exists", with no gap between the look and
---the move; with `sync` the new name is on the disk when the call returns. (suspends)
---@param from string
---@param to string
---@param options? {noreplace?: boolean, sync?: boolean}
function M.rename(from, to, options)
  if options == nil then return core.rename(from, to) end
  local o = check.options("fs.rename", options, RENAME_OPTIONS)
  return core.rename(from, to, o.noreplace, o.sync)
end

---Copies a regular file with its permissions, atomically as fs.write does; shares the blocks where
---the file system can. (suspends)
---@param from string
---@param to string the file's path, not a folder
---@param options? {noreplace?: boolean}
function M.copy(from, to, options)
  local o = check.options("fs.copy", options or {}, COPY_OPTIONS)
  return core.copy(from, to, o.noreplace)
end

---Waits until a file's bytes and its name in the folder are on the disk. (suspends)
---@param path string
M.sync = core.sync

---The absolute path without symbolic links, `.` and `..`. (suspends)
---@param path string
---@return string
M.realpath = core.realpath

---A temporary folder that goes with all that is in it when the handle is closed.
---@class jobrun.fs.Tmpdir
---@field path string
---@field close fun(self: jobrun.fs.Tmpdir) (suspends)
local Tmpdir = {}
Tmpdir.__index = Tmpdir

function Tmpdir:close()
  if self.closed then return end
  self.closed = true
  local ok, failure = pcall(task.shield, core.remove, self.path, true)
  if not ok and not err.is(failure, "not_found") then error(failure) end
end

Tmpdir.__close = Tmpdir.close

---Makes a temporary folder, in $TMPDIR or /tmp: `local tmp <close> = fs.tmpdir()`. Only its owner can
---enter it. It is removed when the handle is closed, also in a cancelled task, and not otherwise. (suspends)
---@return jobrun.fs.Tmpdir
function M.tmpdir()
  local base = os.getenv "TMPDIR"
  if not base or base == "" then base = "/tmp" end
  return setmetatable({ path = core.tmpdir(base .. "/jobrun-XXXXXX") }, Tmpdir)
end

---@class jobrun.fs.Event
---@field type "change"|"rename"|"overflow" content or attributes; a name came or went; events were lost
---@field path string
---@field name? string of the entry, in a folder that is watched

---Changes of a file, or of the entries of a folder (not of folders inside), until it is closed.
---@class jobrun.fs.Watch
---@field next fun(self: jobrun.fs.Watch): jobrun.fs.Event? the next, or nil when it was closed (suspends)
---@field close fun(self: jobrun.fs.Watch)

---Watches a file or folder: `for event in fs.watch(path) do` (the end of the loop closes it), or with
---`fn`, called for each event in a child task until the handle is closed. A "change" may come while
---the writer still writes. Equal events in a row are one; of more than 1024 that wait, the rest is
---one event "overflow": look yourself.
---@param path string
---@param fn? fun(event: jobrun.fs.Event)
---@return jobrun.fs.Watch
function M.watch(path, fn)
  if fn ~= nil and type(fn) ~= "function" then
    check.fail("fs.watch: expected a function as argument 2, got %s", type(fn))
  end
  local watch = core.watch(path)
  if not fn then return watch, nil, nil, watch end
  task.spawn(function()
    for event in watch, nil, nil, watch do fn(event) end
  end)
  return watch
end

return M
