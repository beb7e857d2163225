--- From the option table of `ffmpeg{}` to the argument list of ffmpeg, always in the same order.
--
--   ffmpeg -nostdin [-hide_banner] -loglevel repeat+level+info -progress pipe:4 -stats_period N -y|-n
--     global_args
--     per input:   options, args, -i NAME
--     filter_complex
--     per output:  maps, options, args, NAME
--
-- In two steps. `plan` checks a table and takes it apart; nothing is asked of the file system,
-- nothing started. Between the two, output.lua decides what each output is really called while it
-- is written. `build` makes the list.
--
-- A string names a PATH, and a relative one gets "./" in front: that cures names which begin with
-- "-" or hold a ":". A table is {path=} or {url=, protocols=} or {raw=}, beside its own options and
-- `args`, which is passed as it is. Options that stand beside `input` and `output` belong to every
-- output, whose own table wins.
--
-- A run that is fed through stdin, and a stage of a pipeline, may leave out the input or its name
-- (pipe:0), and one that writes to the next stage the output's (pipe:1).
--
-- The options of one file are written in a fixed order, never in that of the table (which has
-- none): those of FIRST, then by name. Of two options for one stream ffmpeg takes the last, so what
-- is general stands before what is particular: codec="copy" with acodec="aac" encodes the sound and
-- copies the rest.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local options = require "jobrun.ffmpeg.options"

local M = {}

local FIRST = {
  target = 1, c = 2, codec = 3, vcodec = 4, acodec = 5, scodec = 6, dcodec = 7, vf = 8, af = 9,
    filter = 10, b = 11,
}

-- Keys of the whole call that are not options of an output; their types are checked in ffmpeg.lua.
M.own = {}
for name in ([[
  input inputs output outputs args global_args filter_complex bin on_report on_progress on_stderr timeout
  stall_timeout grace env cwd nice capture_stdout overwrite keep_partial duration stats_period
  stdin ionice rlimits on_overflow user umask verify retry limit two_pass progress
]]):gmatch("%S+") do
  M.own[name] = true
end

local FILE_KEYS = { path = true, url = true, raw = true, args = true, protocols = true }

local function usage(format, ...)
  check.fail("ffmpeg: " .. format, ...)
end

-- ---- checks -------------------------------------------------------------------------------------

-- `own` are the keys this table may have beside ffmpeg's options.
local function unknown_key(key, own)
  local ours = options.ours[key]
  if ours then usage("unknown option '%s': it is jobrun's own, see %s", key, ours) end
  local known = {}
  for name in pairs(options.known()) do known[name] = true end
  for name in pairs(own) do known[name] = true end
  local base = key:match("^%-*([^:]*)")
  local near = known[base] and base or check.nearest(base, known)
  local hint = near and (", did you mean '%s'?"):format(near) or ""
  usage("unknown option '%s'%s (what jobrun does not know goes through args)", key, hint)
end

local function check_key(key, own)
  if type(key) ~= "string" then
    usage("unexpected value %s without a key (use input=, output= or args=)", tostring(key))
  end
  if not options.is_known(key) then unknown_key(key, own) end
end

local function check_text(text, what)
  if text:find("\0", 1, true) then usage("%s holds a zero byte", what) end
  return text
end

local function number_text(value, what)
  if math.type(value) == "integer" then return tostring(value) end
  if value ~= value or math.abs(value) == math.huge then
    usage("%s is %s, which is no number for ffmpeg", what, value)
  end
  if value == math.floor(value) and math.abs(value) < 1e15 then return ("%d"):format(value) end
  return ("%.14g"):format(value)
end

-- The text of a string or number.
local function scalar(value, what)
  if type(value) == "number" then return number_text(value, what) end
  if type(value) == "string" then return check_text(value, what) end
  usage("%s: expected a string, number, boolean or list, got %s", what, type(value))
end

-- A list of strings, checked: args, global_args, filter_complex, protocols. nil = empty.
local function strings(value, what)
  if value == nil or value == false then return {} end
  if type(value) ~= "table" then value = { value } end
  local list = {}
  for i, item in ipairs(value) do list[i] = scalar(item, ("%s[%d]"):format(what, i)) end
  for key in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 or key > #list then
      usage("%s is not a list of strings", what)
    end
  end
  return list
end

-- ---- one file -----------------------------------------------------------------------------------

local function file_name(spec, what, default)
  local kind
  for _, key in ipairs { "path", "url", "raw" } do
    if spec[key] ~= nil then
      if kind then usage("%s has both %s and %s", what, kind, key) end
      kind = key
    end
  end
  if not kind and default then return "raw", default end
  if not kind then usage("%s needs one of path, url, raw", what) end
  local name = spec[kind]
  if type(name) ~= "string" or name == "" then
    usage("%s: %s must be a string that is not empty", what, kind)
  end
  return kind, check_text(name, what)
end

local function protocols_of(spec, kind, what)
  local list = strings(spec.protocols, what .. ".protocols")
  if kind == "url" and #list == 0 then
    usage('%s: a url needs protocols={…}, those it may use (for https: "https", "tls", "tcp")', what)
  end
  return #list > 0 and table.concat(list, ",") or nil
end

local function own_options(spec, own)
  local result = {}
  for key, value in pairs(spec) do
    if not own[key] then
      check_key(key, own)
      result[key] = value
    end
  end
  return result
end

---One input or output, checked.
---@param spec any what the script passed
---@param what string its name in messages
---@param default? string a raw name where it has none
---@return table file {kind="path"|"url"|"raw", name=string, options=table, args=string[]}
function M.file(spec, what, default)
  if type(spec) == "string" then spec = { path = spec } end
  if type(spec) ~= "table" then usage("%s: expected a path or a table, got %s", what, type(spec)) end
  if type(spec[1]) == "string" then
    usage("%s: expected {path=…}, got a list (several files go into %ss)", what, what)
  end
  local kind, name = file_name(spec, what, default)
  local result = { kind = kind, name = name, args = strings(spec.args, what .. ".args") }
  result.options = own_options(spec, FILE_KEYS)
  local protocols = protocols_of(spec, kind, what)
  if protocols then result.options.protocol_whitelist = protocols end
  return result
end

local function files(opts, one, many, default, hint)
  local single, list = opts[one], opts[many]
  if single ~= nil and list ~= nil then usage("give %s or %s, not both", one, many) end
  if single == nil and list == nil and default then single = {} end
  if single ~= nil then return { M.file(single, one, default) } end
  if list == nil then usage("no %s (%s)", one, hint) end
  if type(list) ~= "table" or #list == 0 then usage("%s: expected a list of %ss", many, one) end
  local result = {}
  for i, spec in ipairs(list) do result[i] = M.file(spec, ("%s[%d]"):format(many, i), default) end
  return result
end

-- ---- the plan -----------------------------------------------------------------------------------

---True if the key belongs to the call and not to ffmpeg. `strict` is ours where it is a boolean,
---and ffmpeg's own option otherwise ("experimental").
---@return boolean
function M.is_own(key, value)
  return M.own[key] or (key == "strict" and type(value) == "boolean")
end

local function shared_options(opts)
  local shared = {}
  for key, value in pairs(opts) do
    if not M.is_own(key, value) then
      check_key(key, M.own)
      shared[key] = value
    end
  end
  return shared
end

local function inherit(output, shared, args)
  for key, value in pairs(shared) do
    if output.options[key] == nil then output.options[key] = value end
  end
  if #output.args == 0 then output.args = args end
end

-- The name of a pipe does not tell the format, as the extension of a file does.
local function check_format(output)
  if output.name ~= "pipe:1" or output.options.f then return end
  for _, arg in ipairs(output.args) do
    if arg == "-f" then return end
  end
  usage 'what is written to a pipe needs its format (f="nut" holds everything)'
end

---@class jobrun.ffmpeg.Plan what an option table asks for, checked
---@field inputs table[] {kind="path"|"url"|"raw", name=string, options=table, args=string[]}
---@field outputs table[] the same
---@field bin string
---@field global_args string[]
---@field filter_complex string[]
---@field stats_period number seconds
---@field strict boolean

---Checks the option table of a call and takes it apart. Raises kind "usage", blaming the script's
---line.
---@param opts table
---@param place? {reads?: boolean, writes?: boolean} through which of stdin and stdout it is joined to others
---@return jobrun.ffmpeg.Plan
function M.plan(opts, place)
  place = place or {}
  if type(opts) ~= "table" then usage("expected a table of options, got %s", type(opts)) end
  local shared = shared_options(opts)
  local hint = place.writes == nil and "use stage.ffmpeg in a pipeline" or "the first and the last stage need their own"
  local plan = {
    inputs = files(opts, "input", "inputs", (place.reads or opts.stdin ~= nil) and "pipe:0" or nil, hint),
    outputs = files(opts, "output", "outputs", (place.writes or opts.capture_stdout) and "pipe:1" or nil, hint),
    bin = opts.bin or "ffmpeg",
    global_args = strings(opts.global_args, "global_args"),
    filter_complex = strings(opts.filter_complex, "filter_complex"),
    stats_period = 0.5,
    strict = opts.strict == true,
  }
  local args = strings(opts.args, "args")
  for _, output in ipairs(plan.outputs) do
    inherit(output, shared, args)
    check_format(output)
  end
  return plan
end

-- ---- the list -----------------------------------------------------------------------------------

local function by_rank(a, b)
  local base_a, base_b = a:match("^[^:]*"), b:match("^[^:]*")
  local rank_a, rank_b = FIRST[base_a] or math.huge, FIRST[base_b] or math.huge
  if rank_a ~= rank_b then return rank_a < rank_b end
  if base_a ~= base_b then return base_a < base_b end
  return a < b
end

local function sorted_keys(tbl, before)
  local keys = {}
  for key in pairs(tbl) do keys[#keys + 1] = key end
  table.sort(keys, before)
  return keys
end

local function append(argv, ...)
  for i = 1, select("#", ...) do argv[#argv + 1] = (select(i, ...)) end
end

local function append_list(argv, list)
  for _, text in ipairs(list) do argv[#argv + 1] = text end
end

-- metadata={title="x"}: one option per field, by name.
local function append_fields(argv, key, fields)
  for _, name in ipairs(sorted_keys(fields)) do
    append(argv, "-" .. key, scalar(name, key) .. "=" .. scalar(fields[name], key .. "." .. name))
  end
end

local function append_option(argv, key, value)
  if value == false then return end
  if value == true then
    append(argv, "-" .. key)
  elseif type(value) ~= "table" then
    append(argv, "-" .. key, scalar(value, key))
  elseif key:find("^metadata") and type(next(value)) == "string" then
    append_fields(argv, key, value)
  else
    if next(value) ~= nil and #value == 0 then usage("%s: expected a list, got a table with keys",
      key) end
    for _, item in ipairs(value) do append_option(argv, key, item) end
  end
end

local function append_options(argv, set, skip)
  for _, key in ipairs(sorted_keys(set, by_rank)) do
    if key ~= skip then append_option(argv, key, set[key]) end
  end
end

---The name as ffmpeg gets it: a relative path with "./" in front, anything else as it is.
---@param kind "path"|"url"|"raw"
---@param name string
---@return string
function M.name_for_ffmpeg(kind, name)
  if kind == "path" and not name:find("^/") and not name:find("^%.%.?/") then return "./" .. name end
  return name
end

local function append_input(argv, input)
  append_options(argv, input.options)
  append_list(argv, input.args)
  append(argv, "-i", M.name_for_ffmpeg(input.kind, input.name))
end

local function append_output(argv, output, name)
  if output.options.map ~= nil then append_option(argv, "map", output.options.map) end
  append_options(argv, output.options, "map")
  append_list(argv, output.args)
  append(argv, M.name_for_ffmpeg(output.kind, name))
end

---@class jobrun.ffmpeg.Names what is only known when the outputs were looked at
---@field targets string[] the name each output is written under
---@field replace boolean ffmpeg may replace what is there (-y), otherwise -n
---@field report boolean there is an on_report

---The whole argument list.
---@param plan jobrun.ffmpeg.Plan
---@param names jobrun.ffmpeg.Names
---@return string[]
function M.build(plan, names)
  local argv = { plan.bin, "-nostdin" }
  if not names.report then append(argv, "-hide_banner") end
  append(argv, "-loglevel", "repeat+level+info", "-progress", "pipe:4")
  append(argv, "-stats_period", number_text(plan.stats_period, "stats_period"))
  append(argv, names.replace and "-y" or "-n")
  if plan.strict then append(argv, "-xerror", "-abort_on", "empty_output") end
  append_list(argv, plan.global_args)
  for _, input in ipairs(plan.inputs) do append_input(argv, input) end
  for _, graph in ipairs(plan.filter_complex) do append(argv, "-filter_complex", graph) end
  for i, output in ipairs(plan.outputs) do append_output(argv, output, names.targets[i]) end
  return argv
end

---The argument list of ffprobe for one input, which tells everything in its flat form.
---@param bin string
---@param input table as M.file returns
---@param counts? boolean it counts the packets
---@return string[]
function M.probe(bin, input, counts)
  local list = { bin, "-hide_banner", "-loglevel", "repeat+level+warning", "-of", "flat" }
  append(list, "-show_format", "-show_streams", "-show_chapters")
  if counts then append(list, "-count_packets") end
  append_input(list, input)
  return list
end

---@param text string
---@return string text with the passwords of its URLs masked
function M.mask(text)
  return (text:gsub("(%w[%w+.-]*://[^%s/@:]*:)[^%s/@]+@", "%1***@"))
end

return M
