--- `jobrun.1`: the manual page, out of what --help and `help COMMAND` print (man(7)).
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local help = require "jobrun.cli.help"

local M = {}

local function escaped(text)
  return (text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("^([.'])", "\\&%1"):gsub("\n([.'])", "\n\\&%1"))
end

-- A paragraph, in lines of less than 80 bytes.
local function filled(text)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if #line + #word > 76 and line ~= "" then lines[#lines + 1], line = line, "" end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return escaped(table.concat(lines, "\n"))
end

local function put(out, fmt, ...)
  out[#out + 1] = fmt:format(...)
end

-- Lines as they are.
local function put_plain(out, text)
  put(out, ".nf\n%s\n.fi", escaped(text))
end

-- "  --name=VALUE  what it does", each of them.
local function put_options(out, text)
  for option, what in text:gmatch "\n  (%-%-%S*)%s+([^\n]+)" do put(out, ".TP\n.B %s\n%s", escaped(option), filled(what)) end
end

local function put_commands(out)
  for _, name in ipairs(check.keys(help.commands)) do
    if name ~= "help" then
      put(out, ".SS %s", escaped(name))
      put_plain(out, help.of(name))
    end
  end
end

local ENVIRONMENT = {
  { "JOBRUN_STORE", "where jobs are kept, as --store" },
  { "JOBRUN_SOCKET", "which running script the commands speak to, as their -s" },
  { "JOBRUN_TOKEN", "the control API's token, of --listen and of the commands" },
  { "NO_COLOR, CLICOLOR_FORCE, TERM", "whether the log has colours on a terminal" },
  { "TZ, TZDIR", "the local time zone, and where zones lie" },
  { "NOTIFY_SOCKET, WATCHDOG_USEC, JOURNAL_STREAM", "set by systemd: it is told when the script is ready and alive" },
  { "http_proxy, https_proxy, no_proxy", "of http.fetch" },
}

---Prints the page.
function M.main()
  local text = require("jobrun.exec").exec({ require("jobrun.test").program, "--help" }).stdout
  local usage = text:match "\n\n(.-)\n\nOptions"
  local out = {}
  put(out, '.TH JOBRUN 1 2026-11-26 "jobrun %s" "User Commands"', require("jobrun.core.metrics").version)
  put(out, ".SH NAME\njobrun \\- run scheduled jobs, child processes and HTTP endpoints written in Lua")
  put(out, ".SH SYNOPSIS")
  put_plain(out, usage)
  put(out, ".SH DESCRIPTION\n%s\n%s", filled(text:match "^[^\n]+"),
    filled "A script's words are told by jobrun help WORD, as in jobrun help every or jobrun help http.fetch.")
  put(out, ".SH OPTIONS")
  put_options(out, text)
  put(out, ".SH COMMANDS")
  put_commands(out)
  put(out, ".SH SIGNALS\n%s", filled(text:match "\nSignals: ([^\n]+)"))
  put(out, ".SH EXIT STATUS\n%s", filled(text:match "\nExit status: (.-)\n\n"))
  put(out, ".SH ENVIRONMENT")
  for _, one in ipairs(ENVIRONMENT) do put(out, ".TP\n.B %s\n%s", escaped(one[1]), filled(one[2])) end
  put(out, ".SH EXAMPLES")
  put_plain(out, text:match "\nExample:  ([^\n]+)")
  put(out, ".SH SEE ALSO\n.BR ffmpeg (1),\n.BR crontab (5)")
  print(table.concat(out, "\n"))
end

return M
