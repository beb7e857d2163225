--- `require`, for modules that wait while they load.
---
--- The stock one calls the loader from C, which a wait cannot pass. This one is the same, in Lua;
--- and if another task asks for a module that is still loading, it waits instead of loading it twice.
--
-- SPDX-License-Identifier: MIT

local stock = require
local loading = {} -- name → {task that loads, queue of tasks that wait}

local function find_loader(name)
  local reasons = {}
  for _, searcher in ipairs(package.searchers) do
    local loader, data = searcher(name)
    if type(loader) == "function" then return loader, data end
    if type(loader) == "string" then reasons[#reasons + 1] = "\n\t" .. loader:gsub("^\n\t", "") end
  end
  error(("module '%s' not found:%s"):format(name, table.concat(reasons)), 3)
end

local Loading = {
  __close = function(entry)
    loading[entry.name] = nil
    if entry.queue then entry.queue:wake(math.maxinteger) end
  end,
}

local function wait_for(entry)
  entry.queue = entry.queue or stock("jobrun.core.sync").queue()
  entry.queue:wait()
end

---@param name string
---@return any value what the module returned
---@return any data where it was found
local function require(name)
  if type(name) ~= "string" then
    error(("bad argument #1 to 'require' (string expected, got %s)"):format(type(name)), 2)
  end
  while not package.loaded[name] and loading[name] do
    if loading[name].task == stock("jobrun.core.task").current() then
      error(("module '%s' requires itself, by way of the modules it requires"):format(name), 2)
    end
    wait_for(loading[name])
  end
  if package.loaded[name] then return package.loaded[name] end
  local loader, data = find_loader(name)
  local entry <close> = setmetatable({ name = name, task = stock("jobrun.core.task").current() }, Loading)
  loading[name] = entry
  local value = loader(name, data)
  if value ~= nil then package.loaded[name] = value end
  if package.loaded[name] == nil then package.loaded[name] = true end
  return package.loaded[name], data
end

return require
