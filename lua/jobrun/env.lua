--- The environment as a table: `env.HOME`, nil where it is not set. Read-only.
--
-- SPDX-License-Identifier: MIT

return setmetatable({}, {
  __index = function(_, name)
    return os.getenv(name)
  end,
  __newindex = function(_, name)
    require("jobrun.check").fail("env.%s: the environment cannot be changed (pass env={...} to exec)", name)
  end,
})
