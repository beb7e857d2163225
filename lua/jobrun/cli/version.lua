--- `jobrun --version`: versions of jobrun and of what it uses; what is not there is said to be so.
--
-- SPDX-License-Identifier: MIT

local M = {}

-- The first number of what a program says of itself.
local function of_program(name)
  local ok, r = pcall(require("jobrun.exec").exec, { name, "-version", check = false })
  return ok and r.stdout:match "version (%S+)" or "not found"
end

function M.main()
  local metrics = require "jobrun.core.metrics"
  local curl = require("jobrun.core.fetch").version()
  print("jobrun " .. metrics.version)
  print(metrics.lua)
  print("libuv " .. metrics.libuv)
  print("libcurl " .. (curl and curl:match "libcurl/(%S+)" or "not found"))
  print("ffmpeg " .. of_program "ffmpeg")
end

return M
