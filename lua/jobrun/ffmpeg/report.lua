--- Reads what ffmpeg says on stderr: the line that tells why it failed, the kind of failure, the
--- counts.
--
-- ffmpeg often says why in the middle and ends with "Conversion failed!". The telling line is the
-- first error since the last sign of progress (an error before which ffmpeg went on was not the
-- cause), passing over lines that only say that something failed when another tells what; a fatal
-- line beats only those. What encoders print themselves ("x264 [error]: …") counts as an error.
--
-- The kind is the short word a script branches on. It comes from the texts of the system's errors
-- and of ffmpeg's own, and where these say nothing from the part of ffmpeg that spoke ([libx264 @
-- 0x…]).
--
-- The exit status is no proof of success: errors while the file was being closed come with 0.
--
-- SPDX-License-Identifier: MIT

local argv = require "jobrun.ffmpeg.argv"

local M = {}

local Report = {}
Report.__index = Report

local KEPT = 20 -- lines of each sort in the result

local BAD = { error = true, fatal = true, panic = true }

-- Lines that say that, and not why.
local EMPTY_WORDS = {
  "^Error initializing output stream",
  "^Error reinitializing",
  "^Error while processing",
  "^Error while opening",
  "^Error splitting",
  "^Error parsing",
  "^Error opening",
  "^Failed to inject",
  "^Failed to set value",
  "^Device creation failed",
  "^Device setup failed",
  "^Could not write header",
  "^Conversion failed!",
  "^Exiting normally",
}

-- In order: the first pattern that is found decides. Texts of the system first, as they may stand
-- in any line.
local KINDS = {
  { "No such file or directory", "not_found" },
  { "Could find no file", "not_found" },
  { "Permission denied", "permission" },
  { "Operation not permitted", "permission" },
  { "Read%-only file system", "permission" },
  { "No space left on device", "no_space" },
  { "Disk quota exceeded", "no_space" },
  { "File too large", "no_space" },
  { "already exists%. Exiting", "exists" },
  { "Broken pipe", "broken_pipe" },
  { "Connection refused", "network" },
  { "Connection reset", "network" },
  { "Connection timed out", "network" },
  { "Operation timed out", "network" },
  { "Network is unreachable", "network" },
  { "No route to host", "network" },
  { "Failed to resolve hostname", "network" },
  { "HTTP error", "network" },
  { "Server returned", "network" },
  { "TLS ", "network" },
  { "Protocol .* not on whitelist", "option" },
  { "Protocol not found", "option" },
  { "Unrecognized option", "option" },
  { "Option not found", "option" },
  { "Missing argument for option", "option" },
  { "matches no streams", "option" },
  { "Invalid stream specifier", "option" },
  { "Output with label", "option" },
  { "Invalid duration specification", "option" },
  { "Invalid framerate", "option" },
  { "Invalid frame size", "option" },
  { "Invalid file index", "option" },
  { "Unknown pixel format", "option" },
  { "Unknown input format", "option" },
  { "suitable output format", "option" },
  { "At least one output file", "option" },
  { "does not contain any stream", "option" },
  { "^Trailing option", "option" },
  { "cannot be applied to", "option" },
  { "Unknown encoder", "codec" },
  { "Unknown decoder", "codec" },
  { "No such filter", "filter" },
  { "[Ff]iltergraph", "filter" },
  { "Error initializing filter", "filter" },
  { "Error applying option", "filter" },
  { "Unable to parse option value", "option" },
  { "Undefined constant", "option" },
  { "for parameter '.*' out of range", "option" },
  { "Error setting option", "option" },
  { "Expected number for", "option" },
  { "Invalid data found", "invalid_data" },
  { "moov atom not found", "invalid_data" },
  { "corrupt", "invalid_data" },
  { "Is a directory", "invalid_data" },
  { "[Ii]nvalid NAL", "invalid_data" },
  { "while decoding", "invalid_data" },
  { "^x26[45] %[error%]", "codec" },
  { "currently supported in container", "codec" },
  { "are supported for WebM", "codec" },
  { "not divisible by 2", "codec" },
  { "Error setting profile", "codec" },
  { "Cannot load ", "codec" },
  { "No device available for decoder", "codec" },
  { "opening encoder", "codec" },
  { "opening decoder", "codec" },
  { "Encoder .* not found", "codec" },
  { "experimental", "codec" },
  { "Specified .* not supported", "codec" },
  { "Error writing trailer", "output" },
  { "Error closing file", "output" },
  { "^Empty output", "output" },
  { "av_interleaved_write_frame", "output" },
}

-- Who spoke, where the words decide nothing.
local SPEAKERS = {
  { "^Parsed_", "filter" },
  { "^AVFilterGraph", "filter" },
  { "^lavfi", "filter" },
  { "^graph ", "filter" },
  { "^AVHWDeviceContext", "codec" },
  { "muxer$", "output" },
  { "^mov,mp4", "invalid_data" },
  { "^matroska,webm", "invalid_data" },
  { "^mpegts", "invalid_data" },
  { "^https?$", "network" },
  { "^tcp$", "network" },
  { "^tls$", "network" },
  { "^lib[%w_]+$", "codec" },
  { "^aac$", "codec" },
  { "_nvenc$", "codec" },
  { "_vaapi$", "codec" },
  { "_qsv$", "codec" },
}

local RETRYABLE = { network = true, timeout = true, signal = true, spawn = true }

local function first_kind(text, list)
  for _, entry in ipairs(list) do
    if text:find(entry[1]) then return entry[2] end
  end
end

-- "[libx264 @ 0x55…] [Eval @ 0x7f…] text" → "text", "libx264"
local function split_speaker(line)
  local speaker
  while true do
    local name, rest = line:match("^%[([^%]]-) @ 0x%x+%] ?(.*)$")
    if not name then return line, speaker end
    speaker, line = speaker or name, rest
  end
end

-- "x264 [error]: …" is printed by the library, so ffmpeg put no level before it.
local function level_of(line, level)
  return line:find("^x26[45] %[error%]") and "error" or level
end

---@return table a reader of log lines, to be fed in order with `note`
function M.new()
  return setmetatable({ errors = { count = 0 }, warnings = { count = 0 } }, Report)
end

local function count(list, line)
  list.count = list.count + 1
  if #list < KEPT then list[#list + 1] = argv.mask(line) end
end

-- ffmpeg's status line while it runs; the last one, after a failure too, has "Lsize=".
local function is_progress(line)
  return line:find("^frame=.*[^L]size=") or line:find("^size=") or line:find("^progress=continue")
end

---Takes one line: what is worth counting, and every sign of progress.
---@param line string without its level
---@param level string?
function Report:note(line, level)
  if is_progress(line) then
    self.before, self.first = self.first or self.before, nil
    return
  end
  level = level_of(line, level)
  if level == "warning" then
    count(self.warnings, line)
    if line:find("^Output file is empty") then self.empty_output = true end
  elseif BAD[level] then
    self:note_error(line, level)
  end
end

local function is_empty_of_meaning(text)
  for _, pattern in ipairs(EMPTY_WORDS) do
    if text:find(pattern) then return true end
  end
  return false
end

-- Lines that mean more than their words.
function Report:notice(text)
  if text:find("^Error writing trailer") or text:find("^Error closing file") then
    self.unclosed = self.unclosed or text
  elseif text:find("^Error reinitializing filters") or text:find("^Error initializing filter") then
    self.filters_failed = true
  end
end

function Report:note_error(line, level)
  count(self.errors, line)
  local text, speaker = split_speaker(line)
  text = text:match("^%s*(.-)%s*$")
  if text == "" then return end
  self:notice(text)
  local found = { text = text, speaker = speaker, empty = is_empty_of_meaning(text) }
  local first = self.first
  if not first or (first.empty and (not found.empty or level == "fatal")) then self.first = found end
end

---The telling line, without the part of ffmpeg that spoke; nil if nothing was said.
---@return string?
function Report:reason()
  local first = self.first or self.before
  return first and first.text
end

---The kind of failure that a text stands for.
---@param text string
---@param speaker? string
---@return string? kind
function M.kind_of(text, speaker)
  return first_kind(text, KINDS) or speaker and first_kind(speaker, SPEAKERS) or nil
end

---The kind of the failure that `reason` tells of; "exit" where nothing is known.
---@return string
function Report:kind()
  local first = self.first or self.before
  if not first then return "exit" end
  local kind = M.kind_of(first.text, first.speaker) or "exit"
  if self.filters_failed and (kind == "option" or kind == "exit") then kind = "filter" end
  return kind
end

---True if the same call may work when it is made again.
---@param kind string
---@param reason string
---@return boolean
function M.is_retryable(kind, reason)
  if kind == "network" then return not reason:find("%f[%d]4%d%d%f[%D]") end
  return RETRYABLE[kind] or false
end

return M
