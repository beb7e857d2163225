--- Progress bars: one line for each run that asked for one, at the bottom of the terminal.
---
--- Log lines and what `print` writes go above them. They are drawn on stderr, ten times a second at
--- most. Where stderr is no terminal, or a dumb one, a run has a log line each 10 % or 30 s instead.
--- `--color`, NO_COLOR and CLICOLOR_FORCE decide about colours, as for the log.
--
-- SPDX-License-Identifier: MIT

local core = require "jobrun.core.terminal"
local host = require "jobrun.core.host"

local M = {}

local LABEL <const>, BAR <const> = 24, 24 -- columns
local MOST <const> = 60 -- lines that core takes, less one for "and N more"
local STEP_PERCENT <const>, STEP_SECONDS <const> = 10, 30
local GREEN <const>, RED <const>, PLAIN <const> = "\27[32m", "\27[31m", "\27[0m"

---@class jobrun.Bar
local Bar = {}
Bar.__index = Bar

local bars = {}

local function has_terminal()
  return os.getenv "TERM" ~= "dumb" and core.size() ~= nil
end

-- A log line has none where it is not meant for people.
local function has_colours()
  local colored, is_text = host.log_style()
  return colored and (is_text or has_terminal())
end

-- ---- text -----------------------------------------------------------------------------------------

-- Columns that a character takes, roughly: East Asian ones take two.
local function width_of(code)
  return code >= 0x1100 and (code < 0x2000 or code >= 0x2e80) and 2 or 1
end

-- `text` in exactly `columns` columns; what a terminal might obey or cannot show is a "?".
local function fitted(text, columns)
  text = text:gsub("[%c\127]", "?")
  if not utf8.len(text) then text = text:gsub("[\128-\255]", "?") end
  local kept, used = {}, 0
  for _, code in utf8.codes(text) do
    local width = width_of(code)
    if used + width > columns then break end
    kept[#kept + 1] = utf8.char(code >= 0x80 and code < 0xa0 and 0x3f or code)
    used = used + width
  end
  return table.concat(kept) .. (" "):rep(columns - used)
end

local function clock(seconds)
  local s = math.floor(seconds + 0.5)
  if s < 3600 then return ("%d:%02d"):format(s // 60, s % 60) end
  return ("%d:%02d:%02d"):format(s // 3600, s // 60 % 60, s % 60)
end

-- What is known: "42 %  0:12 left  3.1x  120 fps".
local function facts(p)
  local list = {}
  if p.percent then list[#list + 1] = ("%3.0f %%"):format(math.floor(p.percent)) end
  if p.eta and not p.done then list[#list + 1] = clock(p.eta) .. " left" end
  if not p.percent and p.out_time then list[#list + 1] = clock(p.out_time) end
  if p.speed then list[#list + 1] = ("%.3gx"):format(p.speed) end
  if p.fps and p.fps > 0 then list[#list + 1] = ("%.0f fps"):format(p.fps) end
  return table.concat(list, "  ")
end

-- Without a percentage a mark wanders, so that one sees it live.
local function picture(p, turn)
  if p.percent then return ("#"):rep(math.floor(p.percent / 100 * BAR)) end
  return (" "):rep(turn % BAR) .. "#"
end

-- One line, and how many columns it takes; at most `columns`.
local function line_of(bar, columns)
  local p = bar.p
  local label = fitted(bar.label, math.min(LABEL, columns))
  local rest = columns - math.min(LABEL, columns)
  local drawn = ""
  if rest >= BAR + 20 then
    local mark = picture(p, bar.turn)
    local colour, plain = M.colours and GREEN or "", M.colours and PLAIN or ""
    drawn = ("  [%s%s%s%s]"):format(colour, mark, plain, (" "):rep(BAR - #mark))
    rest = rest - BAR - 4
  end
  return label .. drawn .. fitted("  " .. facts(p), math.max(rest, 0)), columns
end

-- ---- on a terminal --------------------------------------------------------------------------------

local own_print

-- Lines of a script go above the bars too.
local function print_above(...)
  core.hide()
  own_print(...)
  io.stdout:flush()
  core.show()
end

local function guard_print()
  if #bars > 0 and not own_print then
    own_print = _G.print
    _G.print = print_above
  elseif #bars == 0 and own_print then
    if _G.print == print_above then _G.print = own_print end
    own_print = nil
  end
end

local function redraw(above)
  local columns, rows = core.size()
  columns = (columns or 80) - 1 -- a full last column would wrap
  local most = math.max(math.min((rows or 24) - 2, MOST), 1)
  local lines, widths = {}, {}
  for i = 1, math.min(#bars, most) do lines[i], widths[i] = line_of(bars[i], columns) end
  if #bars > most then
    lines[#lines + 1] = fitted(("and %d more"):format(#bars - most), columns)
    widths[#widths + 1] = columns
  end
  core.lines(above or "", table.concat(lines, "\n"), table.unpack(widths))
end

local function remove(bar)
  for i, other in ipairs(bars) do
    if other == bar then return table.remove(bars, i) end
  end
end

local function last_line(bar, ok, p)
  local mark = ok and "done" or "failed"
  if M.colours then mark = (ok and GREEN or RED) .. mark .. PLAIN end
  local at = not ok and p.percent and (" at %.0f %%"):format(math.floor(p.percent)) or ""
  return ("%s  %s%s after %s\n"):format(fitted(bar.label, LABEL), mark, at, clock(p.elapsed or 0))
end

-- ---- elsewhere ------------------------------------------------------------------------------------

local function log_plain(bar, p)
  local step = p.percent and p.percent // STEP_PERCENT or 0
  local elapsed = p.elapsed or 0
  if step <= bar.step and elapsed < bar.logged + STEP_SECONDS then return end
  bar.step, bar.logged = step, elapsed
  host.log("info", ("%s: %s"):format(fitted(bar.label, #bar.label):match("^(.-)%s*$"), facts(p):match("^%s*(.*)$")))
end

-- ---- the bar --------------------------------------------------------------------------------------

---A bar that shows nothing yet. It ends with `finish` or `close`.
---@param label string
---@return jobrun.Bar
function M.bar(label)
  local self = setmetatable({ label = label, p = {}, turn = 0, step = 0, logged = 0 }, Bar)
  M.colours = has_colours()
  self.is_drawn = has_terminal()
  if self.is_drawn then
    bars[#bars + 1] = self
    guard_print()
    redraw()
  end
  return self
end

---@param p jobrun.ffmpeg.Progress
function Bar:update(p)
  if p.done or self.is_over then return end
  self.p = p
  self.turn = self.turn + 1
  if not self.is_drawn then return log_plain(self, p) end
  redraw()
end

---Leaves a last line above the others.
---@param ok boolean
---@param p jobrun.ffmpeg.Progress
function Bar:finish(ok, p)
  if self.is_over then return end
  self.is_over = true
  local text = last_line(self, ok, p)
  if not self.is_drawn then return host.log("info", (text:gsub("%s%s+", ": "):match("^(.-)%s*$"))) end
  remove(self)
  redraw(text)
  guard_print()
end

---Takes it away.
function Bar:close()
  if self.is_over then return end
  self.is_over = true
  if not self.is_drawn then return end
  remove(self)
  redraw()
  guard_print()
end

return M
